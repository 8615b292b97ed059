// The audit log, for those who may see users: log-ins and their failures, and what befell whom.
import { getJson } from '../session.js';
import { Badge, Icon, Page, Pager, Spinner, Time, Trouble, useLoaded } from '../ui.js';
import { html, useEffect, useState } from '../view.js';
import { device } from './sessions.js';

const PAGE_SIZE = 20;

/** What can be asked for. */
const ACTIONS = [
  ['login', 'Log-ins'],
  ['logout', 'Log-outs'],
  ['session_ended', 'Sessions ended otherwise'],
  ['refresh_reuse', 'Reused refresh tokens'],
  ['password_changed', 'Changes of passwords'],
  ['roles_changed', 'Changes of roles'],
  ['user_changed', 'Changes of profiles'],
  ['user_created', 'New users'],
  ['user_disabled', 'Users disabled'],
  ['user_deleted', 'Users deleted'],
];

const WORDS = {
  login: 'Logged in',
  logout: 'Logged out',
  session_ended: 'Session ended',
  refresh_reuse: 'Refresh token used again: session ended',
  token_revoked: 'Access token revoked',
  all_tokens_revoked: 'All access tokens revoked',
  key_revoked: 'Signing key revoked',
  keys_changed: 'Signing keys changed',
  client_created: 'Client registered',
  client_deleted: 'Client deleted',
  user_created: 'User made',
  user_changed: 'Profile changed',
  user_disabled: 'User disabled',
  user_enabled: 'User enabled',
  user_deleted: 'User deleted',
  users_imported: 'Users imported',
  roles_changed: 'Roles changed',
  password_changed: 'Password changed',
};

const REASONS = {
  ended_by_user: 'by its user, from elsewhere',
  password_changed: 'the password changed',
  user_disabled: 'the user was disabled',
  user_deleted: 'the user was deleted',
  user_restored: 'the user was restored from a backup',
  revoked_by_client: 'by its client',
  client_deleted: 'its client was deleted',
  ended_by_operator: 'by the operator',
};

const REFUSALS = { invalid_credentials: 'wrong name or password', account_disabled: 'account disabled' };

/** What there is to say of a record beyond its name. */
function more({ details }) {
  if (!details) return '';
  if (details.reason) return REASONS[details.reason] ?? '';
  if (details.from) return `from ${details.from.join(', ') || 'none'} to ${details.to.join(', ') || 'none'}`;
  if (details.fields) return details.fields.join(', ');
  if (details.inserted !== undefined) return `${details.inserted} new, ${details.updated} changed`;
  return details.name ?? details.kid ?? (details.keys ?? details.roles ?? []).join(', ');
}

/** What users are called, asked for once each. */
const names = new Map();

function useNames(items) {
  const [, draw] = useState(0);
  const ids = items.flatMap(({ subject, actor }) => [subject, actor?.type === 'user' && actor.id]).filter(Boolean);
  const unknown = [...new Set(ids)].filter((id) => !names.has(id));
  useEffect(() => {
    for (const id of unknown) {
      names.set(id, null);
      getJson(`/users/${encodeURIComponent(id)}`)
        .then((user) => names.set(id, user.email), (problem) => (problem.status === 404 ? names.set(id, 'a deleted user') : names.delete(id)))
        .then(() => draw((count) => count + 1));
    }
  }, [unknown.join()]);
  return (id) => names.get(id) ?? id;
}

export function History({ parameter: subject }) {
  const [action, setAction] = useState(subject ? 'login' : '');
  const [cursors, setCursors] = useState(['']);
  useEffect(() => setCursors(['']), [subject]);
  const query = new URLSearchParams({ limit: PAGE_SIZE, ...(subject && { subject }), ...(action && { action }) }).toString();
  const cursor = cursors.at(-1);
  const log = useLoaded(() => getJson(`/auth/audit?${query}${cursor && `&cursor=${cursor}`}`), `${query}|${cursor}`);
  const items = log.data?.items ?? [];
  const name = useNames(subject ? [...items, { subject }] : items);
  const who = ({ actor }) => (actor ? (actor.type === 'user' ? name(actor.id) : actor.id) : '');
  const actions = html`<button type="button" class="button" onClick=${log.again}><${Icon} name="refresh" />Look again</button>`;
  return html`
    <${Page} title="History" intro="Who did what to whom in all services, the newest first: no passwords, no tokens." actions=${actions}>
      <form class="filters card" role="search" aria-label="History" onSubmit=${(event) => event.preventDefault()}>
        <div class="field">
          <label for="action">What</label>
          <select id="action" value=${action} onChange=${(event) => (setAction(event.target.value), setCursors(['']))}>
            <option value="">Everything</option>
            ${ACTIONS.map(([value, label]) => html`<option value=${value}>${label}</option>`)}
          </select>
        </div>
        ${subject && html`<div class="field chosen"><span class="label">Of</span><span class="badges"><${Badge}>${name(subject)}<//><a href="#/history">Of everybody</a></span></div>`}
      </form>
      ${log.problem && html`<${Trouble} problem=${log.problem} retry=${log.again} />`}
      ${!log.data && !log.problem && html`<${Spinner} />`}
      ${log.data && html`
        <div class="card table" aria-busy=${String(log.busy)}>
          <table>
            <caption class="hidden">History, ${cursors.length > 1 ? `page ${cursors.length}` : 'first page'}</caption>
            <thead><tr><th scope="col">What</th><th scope="col">Whom</th><th scope="col" class="wide">From</th><th scope="col">When</th></tr></thead>
            <tbody>
              ${items.map((item) => html`
                <tr key=${item.id}>
                  <th scope="row">
                    ${item.outcome === 'succeeded' ? (WORDS[item.action] ?? item.action) : html`${item.action === 'login' ? 'Log-in' : (WORDS[item.action] ?? item.action)} <${Badge} kind="bad">refused<//>`}
                    <span class="sub">${item.outcome === 'succeeded' ? more(item) : (REFUSALS[item.outcome] ?? item.outcome)}</span>
                  </th>
                  <td>
                    ${item.subject ? name(item.subject) : html`<span class="none">${item.action === 'login' ? 'nobody by that name' : 'no user'}</span>`}
                    ${who(item) && who(item) !== name(item.subject) && html`<span class="sub">by ${who(item)}</span>`}
                  </td>
                  <td class="wide">${item.address ?? html`<span class="none">unknown</span>`}${item.user_agent && html`<span class="sub" title=${item.user_agent}>${device(item.user_agent)}</span>`}</td>
                  <td><${Time} at=${item.at} /></td>
                </tr>`)}
            </tbody>
          </table>
          ${!items.length && html`<p class="empty">Nothing like that has happened.</p>`}
        </div>
        <${Pager} cursors=${cursors} next=${log.data.next_cursor} busy=${log.busy} onMove=${setCursors} />
      `}
      <p class="hidden" role="status">${log.data && !log.busy ? `${items.length} records shown${log.data.next_cursor ? ', and there are more' : ''}.` : ''}</p>
    <//>
  `;
}
