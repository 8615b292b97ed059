// Import of a file: dropped or chosen, with its progress and the lines that were not taken.
import { Problem } from '../api.js';
import { announce, call } from '../session.js';
import { Icon, Notice, Page, Trouble } from '../ui.js';
import { html, useEffect, useRef, useState } from '../view.js';

const NUMBER = new Intl.NumberFormat('en');
const LISTED = 100;

const size = (bytes) =>
  bytes < 1024 ? `${bytes} bytes` : bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;

const isNdjson = (file) => /\.(ndjson|jsonl)$/i.test(file.name) || file.type === 'application/x-ndjson';

export function Import() {
  const [atomic, setAtomic] = useState(false);
  const [over, setOver] = useState(false);
  /** What is under way or has been done: file, sent, total, report, problem. */
  const [run, setRun] = useState(null);
  const stop = useRef();
  const outcome = useRef();
  const busy = run && !run.report && !run.problem;

  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => {
    if (run?.report || run?.problem) outcome.current?.focus();
  }, [run?.report, run?.problem]);

  const begin = async (file) => {
    if (busy || !file) return;
    stop.current = new AbortController();
    const started = Date.now();
    const update = (change) => setRun((before) => ({ ...before, ...change }));
    setRun({ file, sent: 0, total: file.size, started });
    try {
      const report = await call(`/persons/import${atomic ? '?atomic=true' : ''}`, {
        file,
        type: isNdjson(file) ? 'application/x-ndjson' : 'text/csv',
        onProgress: (sent, total) => update({ sent, total }),
        signal: stop.current.signal,
      });
      update({ report, took: Date.now() - started });
      announce(`The import of ${file.name} is done.`);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      update({ problem });
    }
  };
  const onDrop = (event) => {
    event.preventDefault();
    setOver(false);
    begin(event.dataTransfer.files[0]);
  };
  const intro = 'A CSV file with a header of id, name, email and age, or one JSON object per line. A known id is brought up to date; others are added.';
  return html`
    <${Page} title="Import persons" intro=${intro} actions=${html`<a class="button" href="#/persons"><${Icon} name="left" />Persons</a>`}>
      <div class="card drop ${over ? 'over' : ''}" id="drop"
        onDragOver=${(event) => (event.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)} onDrop=${onDrop}>
        <${Icon} name="file" />
        <p>Drop a file here, or</p>
        <label class="button primary choose">
          Choose a file
          <input class="hidden" type="file" accept=".csv,.ndjson,.jsonl,text/csv,application/x-ndjson" disabled=${busy}
            onChange=${(event) => (begin(event.target.files[0]), (event.target.value = ''))} />
        </label>
        <label class="check">
          <input type="checkbox" checked=${atomic} disabled=${busy} onChange=${(event) => setAtomic(event.target.checked)} />
          All or nothing: one bad line, and no line is stored
        </label>
      </div>
      ${busy && html`<${Progress} run=${run} onStop=${() => stop.current.abort()} />`}
      <div ref=${outcome} tabindex="-1" class="outcome">
        ${run?.report && html`<${Report} run=${run} />`}
        ${run?.problem && html`<${Failure} problem=${run.problem} file=${run.file} />`}
      </div>
    <//>
  `;
}

function Progress({ run, onStop }) {
  const share = run.total ? Math.round((run.sent / run.total) * 100) : 0;
  const sent = run.sent >= run.total && run.total > 0;
  return html`
    <section class="card stack" aria-labelledby="progress-title">
      <h2 id="progress-title">${run.file.name}</h2>
      <progress max="100" value=${sent ? undefined : share} aria-labelledby="progress-title"></progress>
      <p class="fine">${sent ? 'All is sent. The last lines are being stored.' : `${size(run.sent)} of ${size(run.total)} sent, ${share} %`}</p>
      <div class="actions"><button type="button" class="button small" onClick=${onStop}>Stop</button></div>
    </section>
  `;
}

function Report({ run: { report, file, took } }) {
  const counts = [['Added', report.inserted], ['Updated', report.updated], ['Unchanged', report.unchanged], ['Rejected', report.rejected]];
  return html`
    <section class="card stack" aria-labelledby="report-title">
      <h2 id="report-title">${file.name} <span class="fine">${size(file.size)} in ${took < 1000 ? `${took} ms` : `${(took / 1000).toFixed(1)} s`}</span></h2>
      <dl class="counts">${counts.map(([label, count]) => html`<div class=${label === 'Rejected' && count ? 'bad' : ''}><dt>${label}</dt><dd>${NUMBER.format(count)}</dd></div>`)}</dl>
      ${report.rejected === 0
        ? html`<${Notice} kind="good" title="Every line was taken" />`
        : html`<${Lines} lines=${report.errors} total=${report.rejected} />`}
    </section>
  `;
}

/** With all or nothing, the lines come as the errors of a problem. */
function Failure({ problem, file }) {
  const lines = problem.errors.filter((error) => error.field.startsWith('line ')).map(({ field, ...rest }) => ({ ...rest, line: field.slice(5) }));
  if (!lines.length) return html`<${Trouble} problem=${problem} />`;
  return html`
    <section class="card stack" aria-labelledby="report-title">
      <h2 id="report-title">${file.name}</h2>
      <${Notice} kind="bad" title="Nothing was stored"><p>These lines cannot be taken. Mend them, and import the file again.</p><//>
      <${Lines} lines=${lines} total=${lines.length} />
    </section>
  `;
}

function Lines({ lines, total }) {
  return html`
    <div class="table">
      <table id="rejected">
        <caption>Rejected lines${total > LISTED ? `: the first ${LISTED} of ${NUMBER.format(total)}` : ''}</caption>
        <thead><tr><th scope="col" class="number">Line</th><th scope="col">What is wrong</th><th scope="col" class="wide">Code</th></tr></thead>
        <tbody>${lines.map((line) => html`<tr><th scope="row" class="number">${line.line}</th><td>${line.message}</td><td class="wide"><code>${line.code}</code></td></tr>`)}</tbody>
      </table>
    </div>
  `;
}
