// The access token, taken apart, with its clock and what a refresh does to it.
import { refresh, secondsLeft, useSession } from '../session.js';
import { Badge, Icon, Notice, Page, clock, exactly, tell, useNow } from '../ui.js';
import { html, useState } from '../view.js';

const MEANING = {
  iss: ['Issuer', 'who has made the token; services take no other'],
  sub: ['Subject', 'you, by your id'],
  aud: ['Audience', 'the services that the token is for'],
  iat: ['Issued at', ''],
  exp: ['Expires at', 'from then on every service refuses it'],
  nbf: ['Not before', ''],
  jti: ['Token id', 'so that this one token can be revoked'],
  sid: ['Session', 'so that a log-out finds all its tokens'],
  scope: ['Scope', 'what the token allows'],
  roles: ['Roles', 'where the scope comes from'],
  ver: ['Version', 'of your password, roles and state: older tokens are void'],
  client_id: ['Client', 'the program that acts here'],
  amr: ['How', 'you proved who you are'],
  auth_time: ['When', 'you proved who you are'],
  alg: ['Algorithm', 'services take the one that belongs to the key, and no other'],
  typ: ['Type', 'an access token as RFC 9068 has it'],
  kid: ['Key', 'the one of the ring that has signed'],
};
const TIMES = ['iat', 'exp', 'nbf', 'auth_time'];

function value(name, raw) {
  if (TIMES.includes(name)) return html`${raw} <span class="fine">${exactly(raw * 1000)}</span>`;
  if (Array.isArray(raw)) return html`<span class="badges">${raw.map((item) => html`<${Badge}>${item}<//>`)}</span>`;
  if (name === 'scope') return html`<span class="badges">${raw.split(' ').filter(Boolean).map((item) => html`<${Badge}>${item}<//>`)}</span>`;
  return String(raw);
}

function Parts({ of, former }) {
  return html`
    <dl class="claims">
      ${Object.entries(of).map(([name, raw]) => {
        const [title, text] = MEANING[name] ?? [name, ''];
        const changed = former && JSON.stringify(former[name]) !== JSON.stringify(raw);
        return html`
          <div key=${name} class=${changed ? 'changed' : ''}>
            <dt><code>${name}</code><span>${title}</span>${changed && html`<${Badge} kind="good">new<//>`}</dt>
            <dd><div>${value(name, raw)}</div>${text && html`<p class="fine">${text}</p>`}</dd>
          </div>`;
      })}
    </dl>
  `;
}

function Clock() {
  useNow(250);
  const { expiresIn } = useSession();
  const left = secondsLeft();
  const share = Math.max(0, Math.min(100, (left / expiresIn) * 100));
  return html`
    <div class="clock">
      <p class="big" role="timer" aria-live="off" aria-label="Time left">${clock(left)}</p>
      <p class="fine">of ${clock(expiresIn)} left, then every service refuses it</p>
      <meter min="0" max="100" low="10" value=${share} aria-label="Life of the token that is left"></meter>
    </div>
  `;
}

export function Token() {
  const { access, header, claims, former, events } = useSession();
  const [busy, setBusy] = useState(false);
  const renew = async () => {
    if (busy) return;
    setBusy(true);
    await tell(() => refresh({ why: 'You asked for a refresh.', force: true }), 'There is a new access token.');
    setBusy(false);
  };
  const [first, second, third] = access.split('.');
  return html`
    <${Page} title="Access token" intro="What this page shows with every call. It is kept in the memory of this window, and is gone when the window closes.">
      <div class="token-top">
        <section class="card stack" aria-labelledby="life">
          <h2 id="life">Its life</h2>
          <${Clock} />
          <div class="actions"><button type="button" id="refresh" class="button primary" aria-disabled=${busy ? 'true' : undefined} onClick=${renew}><${Icon} name="refresh" />Refresh now</button></div>
        </section>
        <section class="card stack" aria-labelledby="refreshing">
          <h2 id="refreshing">What a refresh does</h2>
          ${former
            ? html`<p>The token before this one had ${clock(former.secondsLeft)} left. It was not taken back: it dies when its time comes. What is different in the new one is marked below. The refresh token in the cookie was replaced as well.</p>`
            : html`<p>The browser sends its cookie, which only <code>/auth/token</code> ever sees. auth-service answers with a new access token and puts the next refresh token into the cookie; no password is asked for. A refresh token that was used long ago ends the session, because somebody must have copied it.</p>`}
          <p class="fine">It happens by itself when 15 seconds are left. All tabs of this browser share the new token.</p>
        </section>
      </div>
      <section class="card" aria-labelledby="claims">
        <h2 id="claims">Claims</h2>
        <${Parts} of=${claims} former=${former?.claims} />
      </section>
      <section class="card" aria-labelledby="raw">
        <h2 id="raw">As it is sent</h2>
        <${Parts} of=${header} />
        <div class="raw" tabindex="0" role="group" aria-label="The token: header, claims, signature"><code><span class="one">${first}</span>.<span class="two">${second}</span>.<span class="three">${third}</span></code></div>
        <p class="fine">Header, claims and signature. The first two are merely encoded, and anybody can read them; only the signature cannot be made up.</p>
        <${Notice} kind="warn" title="Whoever has this text is you, until it expires"><p>Show it to nobody.</p><//>
      </section>
      <section class="card" aria-labelledby="history">
        <h2 id="history">In this window</h2>
        <ol class="history">${events.map((event) => html`<li class=${event.kind}><time datetime=${new Date(event.at).toISOString()}>${new Date(event.at).toLocaleTimeString('en-GB')}</time><span>${event.text}</span></li>`)}</ol>
      </section>
    <//>
  `;
}
