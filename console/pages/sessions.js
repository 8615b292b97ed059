// Where one is logged in, and how to end it there.
import { call, getJson, logOut, session } from '../session.js';
import { Badge, Confirm, Icon, Notice, Page, Spinner, Time, Trouble, tell, useLoaded } from '../ui.js';
import { html, useEffect, useState } from '../view.js';

const BROWSERS = [['Edge', /Edg\/(\d+)/], ['Opera', /OPR\/(\d+)/], ['Firefox', /Firefox\/(\d+)/], ['Chrome', /Chrome\/(\d+)/], ['Safari', /Version\/(\d+).*Safari/], ['curl', /curl\/(\d+)/]];
const SYSTEMS = [['Android', /Android/], ['iOS', /iPhone|iPad/], ['Windows', /Windows/], ['macOS', /Mac OS X/], ['ChromeOS', /CrOS/], ['Linux', /Linux/]];

/** A browser's name in words, as far as its own account of itself can be read. */
export function device(agent) {
  if (!agent) return 'Unknown program';
  const browser = BROWSERS.map(([name, pattern]) => [name, agent.match(pattern)?.[1]]).find(([, version]) => version);
  const system = SYSTEMS.find(([, pattern]) => pattern.test(agent))?.[0];
  if (!browser) return agent.length > 40 ? `${agent.slice(0, 40)}…` : agent;
  return `${browser.join(' ')}${system ? ` on ${system}` : ''}`;
}

export function Sessions() {
  const [asking, setAsking] = useState(false);
  const sessions = useLoaded(() => getJson('/auth/sessions'), 'sessions');
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && sessions.again(), 15_000);
    return () => clearInterval(timer);
  }, []);
  const end = async (one) => {
    await tell(() => call(`/auth/sessions/${one.id}`, { method: 'DELETE' }), `${device(one.user_agent)} is logged out.`);
    sessions.again();
  };
  const actions = html`<button type="button" class="button danger-quiet" onClick=${() => setAsking(true)}><${Icon} name="out" />Log out everywhere</button>`;
  const intro = 'Each log-in is a session. End one, and its window notices within a second: try it with a second browser or a private window.';
  return html`
    <${Page} title="Sessions" intro=${intro} actions=${actions}>
      ${sessions.problem && html`<${Trouble} problem=${sessions.problem} retry=${sessions.again} />`}
      ${!sessions.data && !sessions.problem && html`<${Spinner} />`}
      ${sessions.data && html`
        <ul class="sessions">
          ${sessions.data.items.toSorted((a, b) => b.current - a.current).map((one) => html`
            <li class="card" key=${one.id}>
              <div class="session-head">
                <h2 title=${one.user_agent}>${device(one.user_agent)}</h2>
                ${one.current && html`<${Badge} kind="good">this window<//>`}
              </div>
              <dl>
                <div><dt>From</dt><dd>${one.address ?? 'unknown'}</dd></div>
                <div><dt>Logged in</dt><dd><${Time} at=${one.created_at} /></dd></div>
                <div><dt>Last refresh</dt><dd><${Time} at=${one.last_used_at} /></dd></div>
                <div><dt>Ends at the latest</dt><dd><${Time} at=${one.expires_at} /></dd></div>
              </dl>
              <div class="actions">
                ${one.current
                  ? html`<button type="button" class="button small" onClick=${() => tell(() => logOut(), 'You are logged out.')}>Log out here</button>`
                  : html`<button type="button" class="button small" aria-label="Log out there: ${device(one.user_agent)}" onClick=${() => end(one)}>Log out there</button>`}
              </div>
            </li>`)}
        </ul>`}
      <${Notice} title="What happens when you log out there">
        <p>auth-service ends the session and puts one line into its feed of revocations. Every service follows that feed and refuses the session’s access tokens from then on (<code>401 token_revoked</code>), although they have not expired. The refresh token in the other browser’s cookie is dead, too.</p>
      <//>
      ${asking && html`
        <${Confirm} title="Log out everywhere?" action="Log out everywhere" onConfirm=${() => logOut({ everywhere: true })} onClose=${() => session().phase === 'in' && setAsking(false)}>
          <p>All your sessions end, this one included.</p>
        <//>`}
    <//>
  `;
}
