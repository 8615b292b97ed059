// Talks HTTP: where the API is, and what went wrong in a form that pages can show.

/** The API's address. It is where this page is, unless the page names another in its head. */
const BASE = new URL(document.querySelector('meta[name="signet-api"]')?.content || '.', document.baseURI);

export const at = (path) => new URL(path.replace(/^\//, ''), BASE);

/** The field that a code without a list of fields is about. */
const FIELD_OF_CODE = { email_taken: 'email', username_taken: 'username', person_exists: 'id' };

/** A failure: problem+json, the form of RFC 6749, or no answer at all (status 0). */
export class Problem extends Error {
  constructor({ status = 0, code = 'unreachable', title = 'Failed', detail = '', request_id = '', errors = [] }) {
    super(detail || title);
    Object.assign(this, { status, code, title, detail, requestId: request_id, errors });
    const field = FIELD_OF_CODE[code];
    if (field && !errors.length) this.errors = [{ field, code, message: detail }];
  }

  /** One that this page has found before it asked. */
  static ofField(field, message) {
    return new Problem({ code: 'validation_failed', title: 'Please check the form', errors: [{ field, code: 'invalid', message }] });
  }

  /** The same about another field. */
  about(field) {
    this.errors = [{ field, code: this.code, message: this.detail }];
    return this;
  }

  static unreachable(cause) {
    return new Problem({ title: 'No answer', detail: cause?.name === 'TimeoutError' ? 'The server took too long to answer.' : 'The server cannot be reached. Is it running, and are you online?' });
  }

  static read(status, body, requestId) {
    let json = {};
    try {
      json = JSON.parse(body) ?? {};
    } catch {
      // Something in between has answered.
    }
    if (json.error) return new Problem({ status, code: json.error, title: 'Refused', detail: json.error_description, request_id: requestId });
    if (!json.code) return new Problem({ status, code: `http_${status}`, title: `Status ${status}`, detail: 'The answer is not one of a Signet service.', request_id: requestId });
    return new Problem({ request_id: requestId, ...json, status });
  }
}

/** Sends a request; a failure is thrown as a Problem. */
export async function send(path, { method = 'GET', headers = {}, json, form, body, token, timeout = 30_000 } = {}) {
  headers = { accept: 'application/json', ...headers };
  if (token) headers.authorization = `Bearer ${token}`;
  if (json !== undefined) {
    headers['content-type'] = 'application/json';
    body = JSON.stringify(json);
  }
  if (form) body = new URLSearchParams(form);
  let response;
  try {
    response = await fetch(at(path), { method, headers, body, credentials: 'include', cache: 'no-store', signal: AbortSignal.timeout(timeout) });
  } catch (cause) {
    throw Problem.unreachable(cause);
  }
  if (!response.ok) throw Problem.read(response.status, await response.text().catch(() => ''), response.headers.get('x-request-id') ?? '');
  return response;
}

/** Sends a file and tells how far it has got, which fetch does not. */
export function upload(path, { file, type, token, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', at(path));
    request.withCredentials = true;
    request.setRequestHeader('authorization', `Bearer ${token}`);
    request.setRequestHeader('content-type', type);
    request.setRequestHeader('accept', 'application/json');
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded, event.total);
    request.onload = () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(Problem.read(request.status, request.responseText, request.getResponseHeader('x-request-id') ?? ''));
    };
    request.onerror = () => reject(Problem.unreachable());
    request.onabort = () => reject(new Problem({ code: 'stopped', title: 'Stopped', detail: 'The import was stopped. Lines that had been stored stay.' }));
    signal?.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}

/** The claims and the header of a token, for people to look at. Only a service can say whether it is genuine. */
export function decode(token) {
  const part = (text) => {
    const bytes = Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  };
  const [header, payload] = token.split('.');
  return { header: part(header), claims: part(payload) };
}
