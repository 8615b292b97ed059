// The table of persons: search, order, ages, page by page; and for who may, adding, changing and deleting.
import { Problem } from '../api.js';
import { announce, call, can, getJson } from '../session.js';
import { Confirm, Dialog, Field, FormTrouble, Icon, Notice, Page, Pager, Spinner, Submit, Time, Trouble, tell, useForm, useLoaded, useSettled } from '../ui.js';
import { html, useState } from '../view.js';

const PAGE_SIZE = 20;
const NOTHING = { q: '', min_age: '', max_age: '' };

const tag = (version) => ({ 'if-match': `"${version}"` });

export function Persons() {
  const [filter, setFilter] = useState(NOTHING);
  const [sort, setSort] = useState('name');
  const [cursors, setCursors] = useState(['']);
  const [dialog, setDialog] = useState(null);
  const settled = useSettled(filter);
  const query = new URLSearchParams({ limit: PAGE_SIZE, sort });
  for (const [name, value] of Object.entries(settled)) if (value.trim()) query.set(name, value.trim());
  const list = query.toString();
  const cursor = cursors.at(-1);
  const persons = useLoaded(() => getJson(`/persons?${list}${cursor && `&cursor=${cursor}`}`), `${list}|${cursor}`);
  // Another order or another filter is another list.
  const change = (next) => (setFilter({ ...filter, ...next }), setCursors(['']));
  const order = (key) => (setSort(sort === key ? `-${key}` : key), setCursors(['']));
  const writer = can('persons:write');
  const done = (text) => (announce(text), persons.again());
  const filtered = Object.values(settled).some(Boolean);
  const messageOf = (name) => persons.problem?.errors.filter((error) => error.field === name).map((error) => error.message).join(' ');
  const form = { messageOf };

  const actions = html`
    ${writer && html`<button type="button" class="button primary" onClick=${() => setDialog({ kind: 'edit' })}><${Icon} name="add" />Add a person</button>`}
    ${writer && html`<a class="button" href="#/import"><${Icon} name="up" />Import</a>`}
    <${Export} />
  `;
  return html`
    <${Page} title="Persons" actions=${actions}>
      <form class="filters card" role="search" aria-label="Persons" onSubmit=${(event) => event.preventDefault()}>
        <${Field} form=${form} name="q" label="Name or e-mail address" type="search" optional value=${filter.q} onInput=${(event) => change({ q: event.target.value })} />
        <${Field} form=${form} name="min_age" label="Age from" inputmode="numeric" optional value=${filter.min_age} onInput=${(event) => change({ min_age: event.target.value })} />
        <${Field} form=${form} name="max_age" label="Age to" inputmode="numeric" optional value=${filter.max_age} onInput=${(event) => change({ max_age: event.target.value })} />
      </form>
      ${persons.problem && html`<${Trouble} problem=${persons.problem} retry=${persons.again} shown=${['q', 'min_age', 'max_age']} />`}
      ${!persons.data && !persons.problem && html`<${Spinner} />`}
      ${persons.data && html`
        <div class="card table" aria-busy=${String(persons.busy)}>
          <table>
            <caption class="hidden">Persons, ${cursors.length > 1 ? `page ${cursors.length}` : 'first page'}</caption>
            <thead><tr>
              <${Head} name="name" label="Name" sort=${sort} onSort=${order} />
              <th scope="col" class="wide">E-mail address</th>
              <${Head} name="age" label="Age" sort=${sort} onSort=${order} number />
              <${Head} name="created_at" label="Added" sort=${sort} onSort=${order} wide />
              ${writer && html`<th scope="col"><span class="hidden">Actions</span></th>`}
            </tr></thead>
            <tbody>
              ${persons.data.items.map((person) => html`
                <tr key=${person.id}>
                  <th scope="row">${person.name}<span class="sub narrow">${person.email}</span></th>
                  <td class="wide">${person.email ?? html`<span class="none">none</span>`}</td>
                  <td class="number">${person.age ?? html`<span class="none">none</span>`}</td>
                  <td class="wide"><${Time} at=${person.created_at} /></td>
                  ${writer && html`<td class="row-actions">
                    <button type="button" class="quiet" aria-label="Edit ${person.name}" title="Edit" onClick=${() => setDialog({ kind: 'edit', person })}><${Icon} name="edit" /></button>
                    <button type="button" class="quiet danger" aria-label="Delete ${person.name}" title="Delete" onClick=${() => setDialog({ kind: 'delete', person })}><${Icon} name="trash" /></button>
                  </td>`}
                </tr>`)}
            </tbody>
          </table>
          ${!persons.data.items.length && html`<p class="empty">${filtered ? 'Nobody fits this search.' : `There is nobody yet.${writer ? ' Add a person, or import a file.' : ''}`}</p>`}
        </div>
        <${Pager} cursors=${cursors} next=${persons.data.next_cursor} busy=${persons.busy} onMove=${setCursors} />
      `}
      <p class="hidden" role="status">${persons.data && !persons.busy ? `${persons.data.items.length} persons shown${persons.data.next_cursor ? ', and there are more' : ''}.` : ''}</p>
      ${!writer && html`<p class="fine">Your token’s scope has no <code>persons:write</code>, so nothing can be changed here.</p>`}
      ${dialog?.kind === 'edit' && html`<${Edit} person=${dialog.person} onClose=${() => setDialog(null)} onDone=${done} />`}
      ${dialog?.kind === 'delete' && html`<${Delete} person=${dialog.person} onClose=${() => setDialog(null)} onDone=${done} />`}
    <//>
  `;
}

function Head({ name, label, sort, onSort, number, wide }) {
  const direction = sort === name ? 'ascending' : sort === `-${name}` ? 'descending' : undefined;
  return html`
    <th scope="col" aria-sort=${direction} class="${number ? 'number' : ''} ${wide ? 'wide' : ''}">
      <button type="button" class="sort" onClick=${() => onSort(name)}>
        ${label}<span class="arrow" aria-hidden="true">${direction && html`<${Icon} name=${direction === 'ascending' ? 'up' : 'down'} />`}</span>
      </button>
    </th>
  `;
}

function Edit({ person: given, onClose, onDone }) {
  const [person, setPerson] = useState(given);
  const [outdated, setOutdated] = useState(null);
  const form = useForm(async ({ id, name, email, age }) => {
    const years = age.trim() === '' ? null : Number(age);
    if (Number.isNaN(years)) throw Problem.ofField('age', 'An age is a whole number of years.');
    const body = { name, email: email.trim() || null, age: years };
    setOutdated(null);
    try {
      if (person) await call(`/persons/${person.id}`, { method: 'PATCH', headers: tag(person.version), json: body });
      else await call('/persons', { method: 'POST', json: { ...body, id: id.trim() || undefined } });
    } catch (problem) {
      if (problem.status === 412) setOutdated(await getJson(`/persons/${person.id}`));
      throw problem;
    }
    onClose();
    onDone(person ? `${name} was saved.` : `${name} was added.`);
  });
  const takeOver = () => (setPerson(outdated), setOutdated(null), form.setProblem(null));
  return html`
    <${Dialog} title=${person ? `Edit ${given.name}` : 'Add a person'} onClose=${onClose}>
      <form key=${person?.version} ...${form.props} class="stack">
        ${outdated
          ? html`<div role="alert" tabindex="-1"><${Notice} kind="warn" title="Somebody else was faster">
              <p>Since you opened this, the person has become: ${outdated.name}, ${outdated.email ?? 'no e-mail address'}, ${outdated.age ?? 'no age'}. Nothing of yours was saved.</p>
              <button type="button" class="button small" onClick=${takeOver}>Begin again from there</button>
            <//></div>`
          : html`<${FormTrouble} form=${form} fields=${['id', 'name', 'email', 'age']} />`}
        <${Field} form=${form} name="name" label="Name" defaultValue=${person?.name ?? ''} autocomplete="off" />
        <${Field} form=${form} name="email" label="E-mail address" type="email" optional defaultValue=${person?.email ?? ''} autocomplete="off" />
        <${Field} form=${form} name="age" label="Age" inputmode="numeric" optional defaultValue=${person?.age ?? ''} autocomplete="off" />
        ${!person && html`<${Field} form=${form} name="id" label="Id" optional hint="Your own, such as p-17; without one it is made up" autocomplete="off" />`}
        <div class="actions end">
          <button type="button" class="button" onClick=${onClose}>Cancel</button>
          <${Submit} form=${form}>${person ? 'Save' : 'Add'}<//>
        </div>
      </form>
    <//>
  `;
}

function Delete({ person, onClose, onDone }) {
  const remove = async () => {
    await call(`/persons/${person.id}`, { method: 'DELETE', headers: tag(person.version) });
    onDone(`${person.name} was deleted.`);
  };
  return html`
    <${Confirm} title="Delete ${person.name}?" action="Delete" onConfirm=${remove} onClose=${onClose}>
      <p>${person.name} will be gone for good. If somebody has changed the person since this list was loaded, nothing is deleted.</p>
    <//>
  `;
}

const FORMATS = { CSV: ['text/csv', 'persons.csv'], NDJSON: ['application/x-ndjson', 'persons.ndjson'] };

function Export() {
  const [busy, setBusy] = useState(null);
  const save = async (format) => {
    if (busy) return;
    setBusy(format);
    const [type, name] = FORMATS[format];
    await tell(async () => {
      const response = await call('/persons/export', { headers: { accept: type }, timeout: 600_000 });
      const blob = await response.blob().catch(() => {
        throw new Problem({ title: 'The export broke off', detail: 'The connection ended half way. Try again.' });
      });
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      URL.revokeObjectURL(link.href);
    }, `${name} was saved.`);
    setBusy(null);
  };
  return html`
    <div class="group" role="group" aria-label="Export all persons">
      ${Object.keys(FORMATS).map((format) => html`
        <button type="button" class="button" aria-label="Export as ${format}" aria-disabled=${busy ? 'true' : undefined} onClick=${() => save(format)}>
          <${Icon} name="down" />${format}
        </button>`)}
    </div>
  `;
}
