// All users, for admins: search, roles, disable, delete.
import { Problem } from '../api.js';
import { announce, call, can, getJson, useSession } from '../session.js';
import { Badge, Confirm, Dialog, Field, FormTrouble, Icon, Notice, Page, Pager, Spinner, Submit, Time, Trouble, useForm, useLoaded, useSettled } from '../ui.js';
import { html, useState } from '../view.js';

const PAGE_SIZE = 20;
/** The roles of a stack as it is delivered; others are found with the users who have them. */
const ROLES = ['user', 'editor', 'admin'];

const tag = (version) => ({ 'if-match': `"${version}"` });

export function Users() {
  const [q, setQ] = useState('');
  const [role, setRole] = useState('');
  const [cursors, setCursors] = useState(['']);
  const [dialog, setDialog] = useState(null);
  const { user: me } = useSession();
  const settled = useSettled(q.trim());
  const query = new URLSearchParams({ limit: PAGE_SIZE, ...(settled && { q: settled }), ...(role && { role }) }).toString();
  const cursor = cursors.at(-1);
  const users = useLoaded(() => getJson(`/users?${query}${cursor && `&cursor=${cursor}`}`), `${query}|${cursor}`);
  const writer = can('users:write');
  const known = [...new Set([...ROLES, ...(users.data?.items.flatMap((user) => user.roles) ?? []), ...(role ? [role] : [])])];
  const done = (text) => (announce(text), users.again());
  return html`
    <${Page} title="Users" intro="Other roles, or a disabled account, void the user’s access tokens at once, in every service.">
      <form class="filters card" role="search" aria-label="Users" onSubmit=${(event) => event.preventDefault()}>
        <${Field} name="q" label="Name or e-mail address" type="search" optional value=${q} onInput=${(event) => (setQ(event.target.value), setCursors(['']))} />
        <div class="field">
          <label for="role">Role</label>
          <select id="role" value=${role} onChange=${(event) => (setRole(event.target.value), setCursors(['']))}>
            <option value="">All</option>
            ${known.map((name) => html`<option value=${name}>${name}</option>`)}
          </select>
        </div>
      </form>
      ${users.problem && html`<${Trouble} problem=${users.problem} retry=${users.again} />`}
      ${!users.data && !users.problem && html`<${Spinner} />`}
      ${users.data && html`
        <div class="card table" aria-busy=${String(users.busy)}>
          <table>
            <caption class="hidden">Users, ${cursors.length > 1 ? `page ${cursors.length}` : 'first page'}</caption>
            <thead><tr>
              <th scope="col">User</th><th scope="col">Roles</th><th scope="col" class="wide">Registered</th>
              <th scope="col"><span class="hidden">Actions</span></th>
            </tr></thead>
            <tbody>
              ${users.data.items.map((user) => html`
                <tr key=${user.id}>
                  <th scope="row">
                    ${user.name || user.username || user.email}${user.id === me?.id && html` <${Badge} kind="good">you<//>`}${user.disabled && html` <${Badge} kind="bad">disabled<//>`}
                    ${(user.name || user.username) && html`<span class="sub">${user.email}</span>`}
                  </th>
                  <td><span class="badges">${user.roles.map((name) => html`<${Badge} kind=${name === 'admin' ? 'strong' : ''}>${name}<//>`)}${!user.roles.length && html`<span class="none">none</span>`}</span></td>
                  <td class="wide"><${Time} at=${user.created_at} /></td>
                  <td class="row-actions">
                    <a class="quiet" href="#/history/${user.id}" aria-label="Log-ins of ${user.email}" title="Log-ins"><${Icon} name="clock" /></a>
                    ${writer && html`<button type="button" class="quiet" aria-label="Edit ${user.email}" title="Roles and state" onClick=${() => setDialog({ kind: 'edit', user })}><${Icon} name="edit" /></button>
                    <button type="button" class="quiet danger" aria-label="Delete ${user.email}" title="Delete" disabled=${user.id === me?.id} onClick=${() => setDialog({ kind: 'delete', user })}><${Icon} name="trash" /></button>`}
                  </td>
                </tr>`)}
            </tbody>
          </table>
          ${!users.data.items.length && html`<p class="empty">Nobody fits this search.</p>`}
        </div>
        <${Pager} cursors=${cursors} next=${users.data.next_cursor} busy=${users.busy} onMove=${setCursors} />
      `}
      <p class="hidden" role="status">${users.data && !users.busy ? `${users.data.items.length} users shown${users.data.next_cursor ? ', and there are more' : ''}.` : ''}</p>
      ${dialog?.kind === 'edit' && html`<${Edit} user=${dialog.user} known=${known} own=${dialog.user.id === me?.id} onClose=${() => setDialog(null)} onDone=${done} />`}
      ${dialog?.kind === 'delete' && html`<${Delete} user=${dialog.user} onClose=${() => setDialog(null)} onDone=${done} />`}
    <//>
  `;
}

function Edit({ user, known, own, onClose, onDone }) {
  const form = useForm(async ({ another, ...fields }) => {
    const roles = known.filter((name) => fields[`role-${name}`]);
    const extra = another.trim();
    if (extra && !roles.includes(extra)) roles.push(extra);
    const json = { roles, disabled: Boolean(fields.disabled) };
    try {
      await call(`/users/${user.id}`, { method: 'PATCH', headers: tag(user.version), json });
    } catch (problem) {
      if (problem.status === 412) throw new Problem({ ...problem, title: 'Somebody else was faster', detail: 'This user was changed since the list was loaded. Close, and look again.', request_id: problem.requestId });
      throw problem;
    }
    onClose();
    onDone(`${user.email} was saved. Tokens from before are refused from now on.`);
  });
  return html`
    <${Dialog} title="Edit ${user.name || user.username || user.email}" onClose=${onClose}>
      <form ...${form.props} class="stack">
        <${FormTrouble} form=${form} fields=${['another']} />
        <p class="fine">${user.email}</p>
        <fieldset>
          <legend>Roles</legend>
          ${known.map((name) => html`<label class="check"><input type="checkbox" name="role-${name}" defaultChecked=${user.roles.includes(name)} />${name}</label>`)}
        </fieldset>
        <${Field} form=${form} name="another" label="Another role" optional autocomplete="off" autocapitalize="none" hint="One that auth-service’s configuration gives scopes to" />
        <label class="check"><input type="checkbox" name="disabled" defaultChecked=${user.disabled} />Disabled: cannot log in, and is logged out everywhere</label>
        ${own && html`<${Notice} kind="warn" title="This is you"><p>Without the role admin you cannot give it back to yourself.</p><//>`}
        <div class="actions end">
          <button type="button" class="button" onClick=${onClose}>Cancel</button>
          <${Submit} form=${form}>Save<//>
        </div>
      </form>
    <//>
  `;
}

function Delete({ user, onClose, onDone }) {
  const remove = async () => {
    await call(`/users/${user.id}`, { method: 'DELETE', headers: tag(user.version) });
    onDone(`${user.email} was deleted.`);
  };
  return html`
    <${Confirm} title="Delete this user?" action="Delete" onConfirm=${remove} onClose=${onClose}>
      <p><strong>${user.email}</strong> will not be able to log in any more, and is logged out everywhere. This cannot be undone.</p>
    <//>
  `;
}
