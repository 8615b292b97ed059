//! Chromium, driven as a person would: by labels and the names of buttons.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    ChromiumLikeCapabilities as _, DesiredCapabilities, Key, WebDriver, WebElement, WindowHandle,
    common::log::LoggingPrefsLogLevel,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::installed::{available, environment, install_node, program};

/// What is installed from npm.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/packages");
/// For how long a page may take to show what it should.
const PATIENCE: Duration = Duration::from_secs(20);

/// The programs that the tests need, and axe.
struct Tools {
    chromium: PathBuf,
    driver: PathBuf,
    axe: String,
}

fn tools() -> Option<&'static Tools> {
    static TOOLS: OnceLock<Option<Tools>> = OnceLock::new();
    let find = || {
        let (chromium, driver) = (program("chromium")?, program("chromedriver")?);
        let node = install_node("axe", Path::new(PACKAGES))?;
        let axe = std::fs::read_to_string(node.directory.join("node_modules/axe-core/axe.min.js"));
        Ok(Tools { chromium, driver, axe: axe.map_err(|cause| format!("axe-core cannot be read: {cause}"))? })
    };
    TOOLS.get_or_init(|| available("the browser tests", "REQUIRE_BROWSER", find())).as_ref()
}

/// One test at a time: some of them measure, and each browser would have every core.
static TURN: Mutex<()> = Mutex::const_new(());

/// The program that drives browsers. It takes them along when it goes.
pub(crate) struct Browsers {
    tools: &'static Tools,
    driver: Child,
    port: u16,
    _turn: MutexGuard<'static, ()>,
}

impl Browsers {
    /// Waits for its turn; nothing where there is no browser.
    pub(crate) async fn start() -> Option<Self> {
        let tools = tools()?;
        let turn = TURN.lock().await;
        let mut driver = Command::new(&tools.driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "chromedriver did not start");
            if let Some((_, port)) = line.trim_end().trim_end_matches('.').rsplit_once("started successfully on port ")
            {
                break port.parse().unwrap();
            }
        };
        // What it says later goes nowhere, but must not block it.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Some(Self { tools, driver, port, _turn: turn })
    }

    /// A browser with a profile of its own.
    pub(crate) async fn open(&self, url: &str) -> Window {
        let profile = tempfile::Builder::new().prefix("signet-browser.").tempdir().unwrap();
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(self.tools.chromium.to_str().unwrap()).unwrap();
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let profile_argument = format!("--user-data-dir={}", profile.path().display());
        for argument in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
            profile_argument.as_str(),
        ] {
            capabilities.add_arg(argument).unwrap();
        }
        let driver = WebDriver::new(format!("http://127.0.0.1:{}", self.port), capabilities).await.unwrap();
        driver.set_script_timeout(PATIENCE).await.unwrap();
        let window = Window { driver, url: url.to_owned(), axe: &self.tools.axe, _profile: profile };
        window.go("").await;
        window
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        // Asked to stop, it ends its browsers as well; killed, it would leave them behind.
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut connection| {
            connection.set_read_timeout(Some(Duration::from_secs(10)))?;
            connection.write_all(b"GET /shutdown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            connection.read_to_end(&mut Vec::new())
        });
        if asked.is_err() {
            let _ = self.driver.kill();
        }
        let _ = self.driver.wait();
    }
}

/// Whether an element can be seen, and what it is called.
const NAMES: &str = "
    const seen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: false });
    const nameOf = (element) => (element.getAttribute('aria-label') ?? element.innerText ?? '').trim();
    const within = [...document.querySelectorAll('dialog[open]')].at(-1) ?? document;
";

/// The name of what has the focus.
const FOCUSED: &str = "
    const element = document.activeElement;
    return element.labels?.[0]?.innerText.replace(/\\s*optional$/, '').trim()
        ?? (element.getAttribute('aria-label') ?? element.innerText ?? '').trim();
";

/// A browser that shows the console.
pub(crate) struct Window {
    pub(crate) driver: WebDriver,
    url: String,
    axe: &'static str,
    _profile: TempDir,
}

impl Drop for Window {
    fn drop(&mut self) {
        // A browser that was not closed goes with its driver: to ask for it here would hold up the stack that it talks to.
        let _ = self.driver.clone().leak();
    }
}

impl Window {
    /// Goes to a page of the console and waits until it stands there.
    pub(crate) async fn go(&self, page: &str) {
        self.driver.goto(format!("{}/{page}", self.url)).await.unwrap();
        self.settle().await;
    }

    pub(crate) async fn reload(&self) {
        self.driver.refresh().await.unwrap();
        self.settle().await;
    }

    /// Waits until nothing is being loaded.
    pub(crate) async fn settle(&self) {
        self.until("document.querySelector('h1') && !document.querySelector('.spinner, [aria-busy=\"true\"]')").await;
    }

    /// Runs a script and gives what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.unwrap().json().clone()
    }

    /// Runs a script that calls `done`.
    pub(crate) async fn run_to_its_end(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        self.driver.execute_async(script, Vec::new()).await.unwrap().json().clone()
    }

    /// Waits until an expression is true, and gives its value.
    pub(crate) async fn until(&self, condition: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             let observer, timer;
             const look = () => {{
                 let value = null;
                 try {{ value = ({condition}); }} catch {{ }}
                 if (value) {{ observer?.disconnect(); clearInterval(timer); done(value); }}
                 return Boolean(value);
             }};
             if (!look()) {{
                 observer = new MutationObserver(look);
                 observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
                 timer = setInterval(look, 50);
             }}"
        );
        match self.driver.execute_async(script, Vec::new()).await {
            Ok(value) => value.json().clone(),
            Err(cause) => {
                let page = self.run("return document.body.innerText").await;
                let log = self.driver.browser_log().await.unwrap_or_default();
                panic!("{condition} has not come true ({cause}) on this page: {page}, with this log: {log:?}")
            }
        }
    }

    /// Waits until the page says something.
    pub(crate) async fn says(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    pub(crate) async fn heading(&self, text: &str) {
        self.until(&format!("document.querySelector('h1')?.innerText === {}", json!(text))).await;
        self.settle().await;
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        self.run(&script).await.as_str().unwrap().to_owned()
    }

    /// The texts of all elements that match and can be seen.
    pub(crate) async fn texts(&self, selector: &str) -> Vec<String> {
        let script = format!(
            "{NAMES} return [...document.querySelectorAll({})].filter(seen).map((element) => element.innerText.trim())",
            json!(selector)
        );
        serde_json::from_value(self.run(&script).await).unwrap()
    }

    async fn find(&self, what: &str, expression: &str) -> WebElement {
        let found = format!("{NAMES} return {expression} ?? null");
        self.until(&format!("(() => {{ {found} }})() !== null")).await;
        let found = self.driver.execute(found, Vec::new()).await.unwrap();
        found.element().unwrap_or_else(|cause| panic!("{what}: {cause}"))
    }

    /// A button or a link by its name, or by the beginning of it; one in a dialog if there is a dialog.
    pub(crate) async fn button(&self, name: &str) -> WebElement {
        let name = json!(name);
        let expression = format!(
            "[...within.querySelectorAll('button, a, summary')].filter(seen)
                 .sort((a, b) => (nameOf(b) === {name}) - (nameOf(a) === {name}))
                 .find((element) => nameOf(element).startsWith({name}))"
        );
        self.find(&format!("the button {name}"), &expression).await
    }

    pub(crate) async fn press(&self, name: &str) {
        let button = self.button(name).await;
        self.click(name, &button).await;
    }

    /// Ticks a box, or takes the tick away.
    pub(crate) async fn tick(&self, label: &str) {
        let field = self.field(label).await;
        self.click(label, &field).await;
    }

    async fn click(&self, name: &str, element: &WebElement) {
        // As a person would: not under what stays on top of the page.
        let scroll = "arguments[0].scrollIntoView({ block: 'center' })";
        self.driver.execute(scroll, vec![element.to_json().unwrap()]).await.unwrap();
        element.click().await.unwrap_or_else(|cause| panic!("{name} cannot be pressed: {cause}"));
    }

    /// What a label stands for.
    pub(crate) async fn field(&self, label: &str) -> WebElement {
        let expression = format!(
            "[...within.querySelectorAll('label')].filter(seen)
                 .find((label) => label.innerText.replace(/\\s*optional$/, '').trim() === {})?.control",
            json!(label)
        );
        self.find(&format!("the field {label}"), &expression).await
    }

    pub(crate) async fn fill(&self, label: &str, text: &str) {
        let field = self.field(label).await;
        field.send_keys(Key::Control + "a").await.unwrap();
        field.send_keys(Key::Backspace + "").await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Chooses from a list by typing what is wanted, as the keyboard allows.
    pub(crate) async fn choose(&self, label: &str, option: &str) {
        self.field(label).await.send_keys(option).await.unwrap();
    }

    /// What a screen reader reads along with a field because of what is wrong with it.
    pub(crate) async fn complaint(&self, label: &str) -> String {
        let field = self.field(label).await;
        let script = "const [field] = arguments;
            if (field.getAttribute('aria-invalid') !== 'true') return '';
            const ids = (field.getAttribute('aria-describedby') ?? '').split(' ').filter((id) => id.endsWith('-error'));
            return ids.map((id) => document.getElementById(id).innerText.trim()).join(' ')";
        let found = self.driver.execute(script, vec![field.to_json().unwrap()]).await.unwrap();
        found.json().as_str().unwrap().to_owned()
    }

    /// Types where the focus is.
    pub(crate) async fn keys(&self, keys: impl Into<thirtyfour::TypingData>) {
        self.driver.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    pub(crate) async fn log_in(&self, who: &str, password: &str) {
        self.heading("Log in").await;
        self.fill("E-mail address or user name", who).await;
        self.fill("Password", password).await;
        self.press("Log in").await;
        self.until("document.querySelector('header.top')").await;
        self.settle().await;
    }

    /// Presses a button in the dialog that is about to open.
    pub(crate) async fn press_in_dialog(&self, name: &str) {
        self.until("Boolean(document.querySelector('dialog[open]'))").await;
        self.press(name).await;
    }

    /// Waits until the focus is at something of this name.
    pub(crate) async fn has_focus(&self, name: &str) {
        let name = json!(name);
        self.until(&format!("(() => {{ {FOCUSED} }})() === {name}")).await;
    }

    /// A second tab of the same browser; the first stays open.
    pub(crate) async fn another_tab(&self) -> (WindowHandle, WindowHandle) {
        let first = self.driver.window().await.unwrap();
        let second = self.driver.new_tab().await.unwrap();
        self.driver.switch_to_window(second.clone()).await.unwrap();
        self.go("").await;
        (first, second)
    }

    pub(crate) async fn to(&self, tab: &WindowHandle) {
        self.driver.switch_to_window(tab.clone()).await.unwrap();
    }

    /// As if the page were this wide, and the system's colours were these.
    pub(crate) async fn look_like(&self, width: u32, height: u32, scheme: &str) {
        let cdp = self.driver.cdp();
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        cdp.send_raw("Emulation.setDeviceMetricsOverride", metrics).await.unwrap();
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        cdp.send_raw("Emulation.setEmulatedMedia", features).await.unwrap();
        self.until(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches")).await;
    }

    /// What axe has against the page as it is, one line for each.
    pub(crate) async fn violations(&self) -> Vec<String> {
        if self.run("return typeof axe").await == "undefined" {
            self.driver.execute(self.axe, Vec::new()).await.unwrap();
        }
        let found = self
            .run_to_its_end(
                "axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations), (error) => done(String(error)))",
            )
            .await;
        let violations = found.as_array().unwrap_or_else(|| panic!("axe has failed: {found}"));
        violations
            .iter()
            .map(|violation| {
                let mut line = format!("{}: {}", violation["id"], violation["help"]);
                for node in violation["nodes"].as_array().unwrap() {
                    write!(line, "\n  {} {}", node["html"], node["failureSummary"]).unwrap();
                }
                line
            })
            .collect()
    }

    /// Where `SIGNET_SCREENSHOTS` names a directory, a picture of the page goes there.
    pub(crate) async fn picture(&self, name: &str) {
        if let Some(directory) = environment("SIGNET_SCREENSHOTS") {
            let path = Path::new(&directory).join(format!("{name}.png"));
            self.driver.screenshot(&path).await.unwrap();
        }
    }

    /// Ends the browser. The page must not have complained about itself: no failed script, nothing against its policy.
    pub(crate) async fn close(self) {
        let complaints: Vec<String> = self
            .driver
            .browser_log()
            .await
            .unwrap()
            .into_iter()
            // A refusal is an answer, whatever browsers make of it.
            .filter(|entry| !entry.message.contains("Failed to load resource"))
            .filter(|entry| matches!(entry.level.as_str(), "SEVERE" | "WARNING"))
            .map(|entry| entry.message)
            .collect();
        self.driver.clone().quit().await.unwrap();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}
