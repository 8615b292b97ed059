// The reference page: one document at a time in RapiDoc, and an access token to try it with. The token stays in the
// memory of this page.

const links = [...document.querySelectorAll("#services a")];
const told = document.getElementById("told");
const dark = matchMedia("(prefers-color-scheme: dark)");

const reference = document.createElement("rapi-doc");
for (const [name, value] of Object.entries({
  "render-style": "focused",
  "schema-style": "table",
  "default-schema-tab": "schema",
  "show-header": "false",
  "show-info": "true",
  "allow-server-selection": "false",
  "allow-spec-url-load": "false",
  "allow-spec-file-load": "false",
  "allow-spec-file-download": "false",
  "allow-advanced-search": "false",
  "load-fonts": "false",
  "show-method-in-nav-bar": "as-colored-text",
  "use-path-in-nav-bar": "true",
  "nav-item-spacing": "relaxed",
  "fetch-credentials": "same-origin",
  "primary-color": "#3556c7",
  "regular-font": "system-ui, sans-serif",
  "mono-font": "ui-monospace, monospace",
  "update-route": "false",
})) {
  reference.setAttribute(name, value);
}

function paint() {
  const colors = dark.matches
    ? { theme: "dark", "bg-color": "#14171f", "text-color": "#dfe3ee", "nav-bg-color": "#1b1f2a" }
    : { theme: "light", "bg-color": "#ffffff", "text-color": "#1d2230", "nav-bg-color": "#f3f5fa" };
  for (const [name, value] of Object.entries(colors)) reference.setAttribute(name, value);
}

function show() {
  const wanted = links.find((link) => link.hash === location.hash) ?? links[0];
  for (const link of links) {
    if (link === wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  reference.setAttribute("server-url", new URL(".", document.baseURI).href.replace(/\/$/, ""));
  const place = new URL(wanted.dataset.document, document.baseURI).href;
  reference.setAttribute("spec-url", place);
  document.getElementById("document").href = place;
}

// RapiDoc writes its colours into an element `style`, which the page's policy forbids; sheets that are made by a script are
// what it allows.
const sheet = new CSSStyleSheet();

function adoptStyles() {
  const written = [...reference.shadowRoot.querySelectorAll("style")].map((style) => style.textContent).join("\n");
  sheet.replaceSync(written);
  if (!reference.shadowRoot.adoptedStyleSheets.includes(sheet)) {
    reference.shadowRoot.adoptedStyleSheets.push(sheet);
  }
}

let token = "";

function present() {
  if (token) reference.setApiKey("bearer", token);
}

document.getElementById("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = document.getElementById("token").value.trim();
  if (token) present();
  else reference.removeAllSecurityKeys();
  told.textContent = token ? "Requests from this page carry it." : "Requests from this page carry none.";
});

reference.addEventListener("spec-loaded", present);
dark.addEventListener("change", paint);
addEventListener("hashchange", () => {
  if (links.some((link) => link.hash === location.hash)) show();
});

paint();
show();
document.getElementById("reference").append(reference);
customElements.whenDefined("rapi-doc").then(() => {
  new MutationObserver(adoptStyles).observe(reference.shadowRoot, {
    childList: true,
    characterData: true,
    subtree: true,
  });
  adoptStyles();
});
