// The page's frame: who is here, where they are, and the way from one page to another.
import { at } from './api.js';
import { History } from './pages/history.js';
import { Import } from './pages/import.js';
import { Persons } from './pages/persons.js';
import { Profile } from './pages/profile.js';
import { Sessions } from './pages/sessions.js';
import { Token } from './pages/token.js';
import { Users } from './pages/users.js';
import { Welcome } from './pages/welcome.js';
import { can, logOut, secondsLeft, start, useNews, useSession } from './session.js';
import { Icon, Mark, Spinner, clock, tell, useNow } from './ui.js';
import { html, render, useEffect, useState } from './view.js';

const PAGES = {
  persons: { label: 'Persons', page: Persons },
  import: { page: Import, within: 'persons', scope: 'persons:write' },
  users: { label: 'Users', page: Users, scope: 'users:read' },
  history: { label: 'History', page: History, scope: 'users:read' },
  sessions: { label: 'Sessions', page: Sessions },
  token: { label: 'Token', page: Token },
  profile: { label: 'Profile', page: Profile },
};

const readRoute = () => (location.hash.startsWith('#/') ? location.hash.slice(2) : '');

function useRoute() {
  const [route, setRoute] = useState(readRoute);
  useEffect(() => {
    const onChange = () => setRoute(readRoute());
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  return route;
}

/** How long the access token is still good; it leads to the page about it. */
function Countdown() {
  useNow();
  const { expiresIn } = useSession();
  const left = secondsLeft();
  return html`
    <a class="countdown" href="#/token" title="How long the access token is still good">
      <span class="pie" aria-hidden="true" style=${{ '--left': `${Math.max(0, Math.round((left / expiresIn) * 100))}%` }}></span>
      <span class="hidden">Access token, time left:</span>
      <span role="timer" aria-live="off">${clock(left)}</span>
    </a>
  `;
}

function Header({ current }) {
  const { user } = useSession();
  return html`
    <header class="top">
      <a class="brand" href="#/persons"><${Mark} />Signet</a>
      <nav aria-label="Pages of the console">
        <ul>
          ${Object.entries(PAGES)
            .filter(([, { label, scope }]) => label && (!scope || can(scope)))
            .map(([name, { label }]) => html`<li><a href="#/${name}" aria-current=${current === name ? 'page' : undefined}>${label}</a></li>`)}
        </ul>
      </nav>
      <div class="who">
        <${Countdown} />
        ${user && html`<span class="name" title=${user.email}>${user.name || user.username || user.email}</span>`}
        <button type="button" class="button small" onClick=${() => tell(() => logOut(), 'You are logged out.')}><${Icon} name="out" />Log out</button>
      </div>
    </header>
  `;
}

function News() {
  const news = useNews();
  return html`
    <div class="news" role="status" aria-live="polite">
      ${news.map((item) => html`<p key=${item.id} class=${item.kind}><${Icon} name=${item.kind === 'good' ? 'check' : 'alert'} />${item.text}</p>`)}
    </div>
  `;
}

function skip(event) {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Inside({ route: path }) {
  const { offline } = useSession();
  // What follows the page's name is for the page.
  const [route, parameter = ''] = path.split('/');
  const name = PAGES[route] && (!PAGES[route].scope || can(PAGES[route].scope)) ? route : 'persons';
  const { page: Body, within } = PAGES[name];
  useEffect(() => {
    // Who is in has no business at the door.
    if (route === 'login' || route === 'register') location.replace('#/persons');
  }, [route]);
  return html`
    <${Header} current=${within ?? name} />
    <main id="main" tabindex="-1">
      ${offline && html`<p class="offline" role="alert">The server cannot be reached. What you see may be out of date.</p>`}
      <${Body} key=${name} parameter=${decodeURIComponent(parameter)} />
    </main>
    <footer><a href=${at('/docs').href}>API reference</a></footer>
  `;
}

function App() {
  const route = useRoute();
  const { phase } = useSession();
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    ${phase === 'starting' && html`<main id="main" tabindex="-1" class="starting"><${Spinner} label="Looking for your session" /></main>`}
    ${phase === 'out' && html`<${Welcome} route=${route} />`}
    ${phase === 'in' && html`<${Inside} route=${route} />`}
    <${News} />
  `;
}

render(html`<${App} />`, document.getElementById('app'));
start();
