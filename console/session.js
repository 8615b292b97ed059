// The session of this browser: the access token in memory, the refresh token in a cookie that no script can read.
import { Problem, decode, send, upload } from './api.js';
import { useEffect, useReducer } from './view.js';

/** The refresh token stays in its cookie where this is sent. */
const IN_COOKIE = { 'x-session': 'cookie' };
/** A token with less time left is renewed before it is used. */
const NEARLY_OVER_SECONDS = 15;
/** How often a page that somebody looks at asks whether its token still counts, and one that lies idle. */
const WATCH_MS = 500;
const WATCH_IDLE_MS = 10_000;
const IDLE_AFTER_MS = 10 * 60_000;
const KEPT_EVENTS = 40;

let state = {
  /** starting, out or in */
  phase: 'starting',
  user: null,
  access: null,
  header: null,
  claims: null,
  /** When the token came, in this computer's time, and for how many seconds it is good. */
  receivedAt: 0,
  expiresIn: 0,
  /** The token before this one, to compare. */
  former: null,
  /** Why the session ended, for who looks at the page. */
  ended: null,
  /** The server cannot be reached. */
  offline: false,
  events: [],
};
const listeners = new Set();
const channel = new BroadcastChannel('signet');

function set(change) {
  state = { ...state, ...change };
  listeners.forEach((listener) => listener());
}

export const session = () => state;

/** The session, in a component that is drawn anew when it changes. */
export function useSession() {
  const [, draw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    listeners.add(draw);
    return () => listeners.delete(draw);
  }, []);
  return state;
}

export const can = (scope) => (state.claims?.scope ?? '').split(' ').includes(scope);

export const secondsLeft = () => (state.access ? state.expiresIn - (Date.now() - state.receivedAt) / 1000 : 0);

/** Writes into the history of this window, which the token page shows. */
function note(kind, text) {
  set({ events: [{ at: Date.now(), kind, text }, ...state.events].slice(0, KEPT_EVENTS) });
}

function adopt(tokens, receivedAt = Date.now()) {
  const { header, claims } = decode(tokens.access_token);
  const former = state.claims && { claims: state.claims, secondsLeft: Math.max(0, Math.round(secondsLeft())) };
  const same = state.claims?.sub === claims.sub;
  set({
    phase: 'in',
    access: tokens.access_token,
    header,
    claims,
    receivedAt,
    expiresIn: tokens.expires_in,
    former: same ? former : null,
    user: tokens.user ?? (same ? state.user : null),
    ended: null,
    offline: false,
  });
}

function share(tokens) {
  channel.postMessage({ kind: 'tokens', tokens: { ...tokens, user: tokens.user ?? state.user }, receivedAt: state.receivedAt });
}

channel.onmessage = ({ data }) => {
  if (data.kind === 'tokens') {
    const known = state.phase === 'in';
    adopt(data.tokens, data.receivedAt);
    note(known ? 'refresh' : 'login', known ? 'Another tab refreshed and handed its new access token over.' : 'You logged in in another tab.');
  } else if (data.kind === 'out' && state.phase === 'in') {
    end({ why: 'other-tab' });
  }
};

function end(ended) {
  const left = Math.max(0, Math.round(secondsLeft()));
  set({ phase: 'out', access: null, header: null, claims: null, former: null, user: null, ended: ended && { ...ended, at: Date.now(), left } });
  if (ended) note('end', ended.why === 'revoked' ? 'The session was ended elsewhere.' : 'The session ended.');
}

/** One tab at a time, where the browser can see to that. Two at once are safe, too: the server answers both alike. */
const alone = (work) => (navigator.locks ? navigator.locks.request('signet-refresh', work) : work());

let underway = null;

/** Brings a new access token by the cookie; false if the session is over. Unless forced, another tab's news will do. */
export function refresh({ why, force = false }) {
  if (underway && !force) return underway;
  const seen = state.access;
  const work = alone(async () => {
    if (!force && state.access !== seen && secondsLeft() > NEARLY_OVER_SECONDS) return true;
    try {
      const response = await send('/auth/token', { method: 'POST', headers: IN_COOKIE, form: { grant_type: 'refresh_token' } });
      const tokens = await response.json();
      adopt(tokens);
      if (why) note('refresh', why);
      share(tokens);
      return true;
    } catch (problem) {
      if (problem.status === 400) return false;
      throw problem;
    }
  });
  underway = work;
  const done = () => {
    if (underway === work) underway = null;
  };
  work.then(done, done);
  return work;
}

const WHY = {
  token_expired: 'The access token had expired.',
  token_revoked: 'The access token was revoked before its time.',
};

/** After a 401: whether there is another token to try with. If there is none, the session is over. */
async function recover(used, problem) {
  if (state.access !== used) return state.phase === 'in';
  const before = state.claims;
  if (await refresh({ why: `${WHY[problem.code] ?? 'The access token was refused.'} A refresh brought a new one.` })) {
    if (problem.code === 'token_revoked') {
      const changed = before && before.roles?.join() !== state.claims.roles?.join();
      await loadUser();
      announce(changed ? `Your roles are now: ${state.claims.roles.join(', ') || 'none'}.` : 'Your account was changed, and this window has a new access token.');
    }
    return true;
  }
  if (state.phase === 'in' && state.access === used) end({ why: problem.code === 'token_expired' ? 'expired' : 'revoked', code: problem.code });
  return false;
}

/** A request with the access token, which is renewed if that is what it takes. */
export async function call(path, options = {}) {
  const attempt = async () => {
    if (secondsLeft() < NEARLY_OVER_SECONDS && state.access) {
      const used = state.access;
      if (!(await refresh({ why: 'The access token was nearly over, so it was renewed before use.' })) && state.access === used) {
        end({ why: 'expired' });
      }
    }
    const used = state.access;
    if (!used) throw new Problem({ status: 401, code: 'token_missing', title: 'Logged out', detail: 'You are not logged in any more.' });
    try {
      return await (options.file ? upload(path, { ...options, token: used }) : send(path, { ...options, token: used }));
    } catch (problem) {
      problem.token = used;
      throw problem;
    }
  };
  try {
    return await attempt();
  } catch (problem) {
    const refused = problem.status === 401 && problem.code.startsWith('token_') && problem.token;
    if (!refused || !(await recover(problem.token, problem))) throw problem;
    return attempt();
  }
}

export const getJson = async (path) => (await call(path)).json();

async function loadUser() {
  set({ user: await getJson('/users/me') });
}

/** The user as a change has left them. */
export const knowUser = (user) => set({ user });

async function begin(path, json, text) {
  const tokens = await (await send(path, { method: 'POST', headers: IN_COOKIE, json })).json();
  adopt(tokens);
  note('login', text);
  share(tokens);
}

export const logIn = (credentials) => begin('/auth/login', credentials, 'You logged in with your password.');
export const register = (user) => begin('/auth/register', user, 'You registered, and were logged in.');

export async function logOut({ everywhere = false } = {}) {
  const token = state.access;
  try {
    await send(`/auth/logout${everywhere ? '?all=true' : ''}`, { method: 'POST', headers: IN_COOKIE, token });
  } catch (problem) {
    // A token that is dead already logs nobody out any more: it is over.
    if (problem.status !== 401) throw problem;
  }
  channel.postMessage({ kind: 'out' });
  end(null);
}

export const forgetEnd = () => set({ ended: null });

let watching = false;
let lastActivity = Date.now();

/** Looks whether the token still counts, so that a log-out elsewhere is seen while nobody clicks. */
async function look() {
  if (watching || state.phase !== 'in' || document.visibilityState !== 'visible') return;
  watching = true;
  const used = state.access;
  try {
    if (secondsLeft() < NEARLY_OVER_SECONDS) {
      if (!(await refresh({ why: 'The access token was nearly over, so it was renewed.' }))) end({ why: 'expired' });
    } else {
      await send('/auth/me', { token: used, timeout: 5_000 });
    }
    if (state.offline) set({ offline: false });
  } catch (problem) {
    if (problem.status === 401) await recover(used, problem).catch(() => {});
    else if (problem.status === 0 && !state.offline) set({ offline: true });
  } finally {
    watching = false;
  }
}

async function watch() {
  await look();
  setTimeout(watch, Date.now() - lastActivity > IDLE_AFTER_MS ? WATCH_IDLE_MS : WATCH_MS);
}

/** Finds out whether this browser is logged in, and keeps an eye on it. */
export async function start() {
  for (const kind of ['pointerdown', 'keydown', 'focus', 'scroll']) {
    addEventListener(kind, () => (lastActivity = Date.now()), { capture: true, passive: true });
  }
  document.addEventListener('visibilitychange', look);
  try {
    if (await refresh({ why: 'The page was loaded: the cookie brought an access token.' })) await loadUser();
    else set({ phase: 'out' });
  } catch (problem) {
    set({ phase: state.phase === 'in' ? 'in' : 'out', offline: problem.status === 0 });
  }
  watch();
}

// Short news, shown for some seconds and read out by screen readers.
let news = [];
const readers = new Set();

export function announce(text, kind = 'good') {
  const item = { text, kind, id: crypto.randomUUID?.() ?? String(Math.random()) };
  news = [...news.slice(-2), item];
  readers.forEach((reader) => reader());
  setTimeout(() => {
    news = news.filter((other) => other !== item);
    readers.forEach((reader) => reader());
  }, 6_000);
}

export function useNews() {
  const [, draw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    readers.add(draw);
    return () => readers.delete(draw);
  }, []);
  return news;
}
