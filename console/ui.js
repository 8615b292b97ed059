// The pieces that pages are made of: forms with their errors, dialogs, icons, times.
import { Problem } from './api.js';
import { announce } from './session.js';
import { html, useCallback, useEffect, useId, useLayoutEffect, useRef, useState } from './view.js';

const ICONS = {
  add: 'M8 3v10M3 8h10',
  close: 'M4 4l8 8M12 4l-8 8',
  edit: 'M3 13l.6-2.9L10.800 2.900a1 1 0 011.400 0l.9.9a1 1 0 010 1.400L5.900 12.400z',
  trash: 'M3 4.500h10M6.500 4V2.500h3V4M4.500 4.500l.6 9h5.800l.6-9',
  up: 'M8 13V3M4 7l4-4 4 4',
  down: 'M8 3v10M4 9l4 4 4-4',
  left: 'M10 3L5 8l5 5',
  right: 'M6 3l5 5-5 5',
  refresh: 'M13 8a5 5 0 11-1.600-3.700M13 2.500V5h-2.500',
  eye: 'M1.500 8S4 3.500 8 3.500 14.500 8 14.500 8 12 12.500 8 12.500 1.500 8 1.500 8zM8 10a2 2 0 100-4 2 2 0 000 4z',
  alert: 'M8 2l6.500 11.500h-13zM8 6.500v3M8 11.500v.1',
  info: 'M8 14.500a6.500 6.500 0 100-13 6.500 6.500 0 000 13zM8 7.500v4M8 4.700v.1',
  check: 'M3 8.500l3.200 3.200L13 5',
  clock: 'M8 14.500a6.500 6.500 0 100-13 6.500 6.500 0 000 13zM8 4.500V8l2.500 1.500',
  out: 'M6 3H3v10h3M7 8h6.500M11 5l3 3-3 3',
  file: 'M9.500 1.500H4v13h8V4zM9.500 1.500V4H12',
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${ICONS[name]} /></svg>
`;

/** The ring of the icon. */
export const Mark = () => html`
  <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="8" /><circle cx="16" cy="18" r="7.5" /><path d="M11.500 6h9l2 4.500-3 3h-7l-3-3z" />
  </svg>
`;

export const Spinner = ({ label = 'Loading' }) => html`<p class="spinner" role="status"><span aria-hidden="true"></span>${label}…</p>`;

export const Badge = ({ kind = '', children }) => html`<span class="badge ${kind}">${children}</span>`;

export const Notice = ({ kind = 'info', title, children, action }) => html`
  <div class="notice ${kind}">
    <${Icon} name=${{ good: 'check', info: 'info' }[kind] ?? 'alert'} />
    <div>${title && html`<p class="notice-title">${title}</p>`}${children}</div>
    ${action}
  </div>
`;

/** A page: its heading is where the focus goes when somebody comes here. */
export function Page({ title, intro, actions, children }) {
  const heading = useRef();
  useLayoutEffect(() => {
    document.title = `${title} · Signet`;
    if (Page.arrived) heading.current.focus({ preventScroll: true });
    Page.arrived = true;
    scrollTo(0, 0);
  }, [title]);
  return html`
    <div class="page-head">
      <div><h1 tabindex="-1" ref=${heading}>${title}</h1>${intro && html`<p class="intro">${intro}</p>`}</div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </div>
    ${children}
  `;
}

/** What went wrong, with the request id that finds it in the log. */
export function Trouble({ problem, retry, shown = [] }) {
  // What has no field of its own is said up here.
  const others = problem.errors.filter((error) => !shown.includes(error.field));
  const beside = problem.errors.length - others.length;
  return html`
    <div class="notice bad" role="alert" tabindex="-1">
      <${Icon} name="alert" />
      <div>
        <p class="notice-title">${problem.title}</p>
        ${beside > 0 && !others.length
          ? html`<p>${beside === 1 ? 'One field needs' : `${beside} fields need`} another look.</p>`
          : problem.detail && html`<p>${problem.detail}</p>`}
        ${others.length > 0 && html`<ul>${others.map((error) => html`<li>${error.field && `${error.field}: `}${error.message}</li>`)}</ul>`}
        ${problem.requestId && html`<p class="fine">Request id <code>${problem.requestId}</code></p>`}
      </div>
      ${retry && html`<button type="button" class="button" onClick=${retry}>Try again</button>`}
    </div>
  `;
}

/** A form's state: it sends the fields, and shows what is said against them. */
export function useForm(submit) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const form = useRef();
  useLayoutEffect(() => {
    if (!problem || !form.current) return;
    (form.current.querySelector('[aria-invalid="true"]') ?? form.current.querySelector('[role="alert"]'))?.focus();
  }, [problem]);
  const onSubmit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await submit(Object.fromEntries(new FormData(form.current)), form.current);
    } catch (cause) {
      setProblem(cause instanceof Problem ? cause : new Problem({ code: 'page', title: 'This page has failed', detail: String(cause?.message ?? cause) }));
      if (!(cause instanceof Problem)) console.error(cause);
    } finally {
      setBusy(false);
    }
  };
  const messageOf = (name) => problem?.errors.filter((error) => error.field === name).map((error) => error.message).join(' ');
  return { props: { ref: form, onSubmit, noValidate: true }, problem, busy, messageOf, setProblem };
}

/** The trouble of a form, if there is any. */
export const FormTrouble = ({ form, fields }) => form.problem && html`<${Trouble} problem=${form.problem} shown=${fields} />`;

/** A labelled field with its hint and its error, which screen readers read along with it. */
export function Field({ form, name, label, hint, type = 'text', optional, children, ...rest }) {
  const id = useId();
  const [visible, setVisible] = useState(false);
  const message = form?.messageOf(name);
  const described = [hint && `${id}-hint`, message && `${id}-error`].filter(Boolean).join(' ');
  const secret = type === 'password';
  return html`
    <div class="field">
      <label for=${id}>${label}${optional && html` <span class="optional">optional</span>`}</label>
      ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
      <div class=${secret ? 'with-button' : ''}>
        <input id=${id} name=${name} type=${secret && visible ? 'text' : type} aria-invalid=${message ? 'true' : undefined}
          aria-describedby=${described || undefined} aria-required=${optional ? undefined : 'true'}
          spellcheck=${secret ? 'false' : undefined} ...${rest} />
        ${secret && html`
          <button type="button" class="quiet" aria-pressed=${String(visible)} aria-label="Show ${label.toLowerCase()}" onClick=${() => setVisible(!visible)}>
            <${Icon} name="eye" />
          </button>`}
      </div>
      ${message && html`<p class="error" id="${id}-error"><${Icon} name="alert" />${message}</p>`}
    </div>
  `;
}

export const Submit = ({ form, children, kind = 'primary' }) => html`
  <button type="submit" class="button ${kind}" aria-disabled=${form.busy ? 'true' : undefined}>
    ${form.busy && html`<span class="dot" aria-hidden="true"></span>`}${children}
  </button>
`;

/** The browser's own dialog: it keeps the focus inside, and Escape closes it. */
export function Dialog({ title, onClose, done, children }) {
  const dialog = useRef();
  const id = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    const element = dialog.current;
    element.showModal();
    element.querySelector('[data-first], input, select, button.primary')?.focus();
    return () => {
      element.close();
      // What was deleted takes the button along that has led here.
      if (before?.isConnected && !done?.current) before.focus();
      else document.querySelector('h1')?.focus();
    };
  }, []);
  return html`
    <dialog ref=${dialog} aria-labelledby=${id} onCancel=${(event) => (event.preventDefault(), onClose())}>
      <header class="dialog-head">
        <h2 id=${id}>${title}</h2>
        <button type="button" class="quiet" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button>
      </header>
      ${children}
    </dialog>
  `;
}

/** Asks before something is done that cannot be undone. */
export function Confirm({ title, children, action, onConfirm, onClose }) {
  const done = useRef(false);
  const form = useForm(async () => {
    await onConfirm();
    done.current = true;
    onClose();
  });
  return html`
    <${Dialog} title=${title} onClose=${onClose} done=${done}>
      <form ...${form.props}>
        <${FormTrouble} form=${form} />
        <div class="prose">${children}</div>
        <div class="actions end">
          <button type="button" class="button" data-first onClick=${onClose}>Cancel</button>
          <${Submit} form=${form} kind="danger">${action}<//>
        </div>
      </form>
    <//>
  `;
}

/** What a request brings, with a way to ask again. `key` changes when something else is asked for. */
export function useLoaded(load, key) {
  const [loaded, setLoaded] = useState({ data: null, problem: null, busy: true, key });
  const latest = useRef(0);
  const again = useCallback(async () => {
    const mine = ++latest.current;
    setLoaded((before) => ({ ...before, busy: true, key }));
    try {
      const data = await load();
      if (mine === latest.current) setLoaded({ data, problem: null, busy: false, key });
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (mine === latest.current) setLoaded((before) => ({ ...before, problem, busy: false }));
    }
  }, [key]);
  useEffect(() => {
    again();
    return () => latest.current++;
  }, [again]);
  // What was loaded for another key is out of date at once, not when the effect has run.
  return { ...loaded, busy: loaded.busy || loaded.key !== key, again };
}

/** Does something that may fail, and says what came of it. */
export async function tell(work, done) {
  try {
    await work();
    if (done) announce(done);
    return true;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    announce(`${problem.title}: ${problem.detail}`, 'bad');
    return false;
  }
}

/** The present time, anew each second or as often as told. */
export function useNow(every = 1_000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** A value that has been the same for a moment. */
export function useSettled(value, after = 250) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), after);
    return () => clearTimeout(timer);
  }, [value, after]);
  return settled;
}

const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const EXACT = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
const UNITS = [['year', 31_536_000], ['month', 2_592_000], ['day', 86_400], ['hour', 3_600], ['minute', 60]];

export const exactly = (time) => EXACT.format(new Date(time));

/** A time in words, with the exact one for whoever points at it. */
export function Time({ at }) {
  const seconds = (new Date(at) - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? [];
  const text = unit ? RELATIVE.format(Math.round(seconds / size), unit) : 'just now';
  return html`<time datetime=${new Date(at).toISOString()} title=${exactly(at)}>${text}</time>`;
}

/** Minutes and seconds, and hours where there are any. */
export function clock(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (number) => String(number).padStart(2, '0');
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Pages back and forth through a list that is asked for by cursor. */
export function Pager({ cursors, next, onMove, busy }) {
  if (cursors.length === 1 && !next) return null;
  return html`
    <nav class="pager" aria-label="Pages">
      <button type="button" class="button" disabled=${busy || cursors.length === 1} onClick=${() => onMove(cursors.slice(0, -1))}>
        <${Icon} name="left" />Previous
      </button>
      <span>Page ${cursors.length}</span>
      <button type="button" class="button" disabled=${busy || !next} onClick=${() => onMove([...cursors, next])}>
        Next<${Icon} name="right" />
      </button>
    </nav>
  `;
}
