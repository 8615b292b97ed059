// The queries of server.js, on PostgreSQL (a pool, statements prepared once per connection) and SQLite (prepared once).
import Database from "better-sqlite3";
import pg from "pg";

const USER_BY_EMAIL = `SELECT u.id, u.name, u.password_hash, r.name AS role FROM users u
  JOIN user_roles ur ON ur.user_id = u.id JOIN roles r ON r.id = ur.role_id WHERE u.email = $1 ORDER BY r.id DESC LIMIT 1`;
const USER_BY_REFRESH_TOKEN = `SELECT u.id, u.name, r.name AS role FROM refresh_tokens t JOIN users u ON u.id = t.user_id
  JOIN user_roles ur ON ur.user_id = u.id JOIN roles r ON r.id = ur.role_id
  WHERE t.token = $1 AND t.expires_at > $2 ORDER BY r.id DESC LIMIT 1`;
const KEEP_REFRESH_TOKEN = "INSERT INTO refresh_tokens (token, user_id, expires_at) VALUES ($1, $2, $3)";
const COLUMNS = "SELECT id, name, email, age, created_at, updated_at, version FROM persons";
const FIRST_PAGE = `${COLUMNS} ORDER BY id LIMIT $1`;
const NEXT_PAGE = `${COLUMNS} WHERE id > $1 ORDER BY id LIMIT $2`;

export function openStore(url) {
  return url.startsWith("sqlite:") ? sqlite(url.slice("sqlite:".length)) : postgres(url);
}

function postgres(url) {
  const pool = new pg.Pool({ connectionString: url, max: 8, idleTimeoutMillis: 0 });
  const query = async (name, text, values) => (await pool.query({ name, text, values })).rows;
  const first = async (...call) => (await query(...call))[0];
  return {
    userByEmail: (email) => first("user-by-email", USER_BY_EMAIL, [email]),
    userByRefreshToken: (hash, now) => first("user-by-token", USER_BY_REFRESH_TOKEN, [hash, now]),
    keepRefreshToken: (...values) => query("keep-token", KEEP_REFRESH_TOKEN, values),
    page: (after, rows) =>
      after === undefined ? query("first-page", FIRST_PAGE, [rows]) : query("next-page", NEXT_PAGE, [after, rows]),
  };
}

function sqlite(path) {
  const database = new Database(path);
  for (const setting of ["journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000"]) {
    database.pragma(setting);
  }
  const prepare = (text) => database.prepare(text.replaceAll(/\$\d/g, "?"));
  const [byEmail, byToken, keep] = [USER_BY_EMAIL, USER_BY_REFRESH_TOKEN, KEEP_REFRESH_TOKEN].map(prepare);
  const [firstPage, nextPage] = [FIRST_PAGE, NEXT_PAGE].map(prepare);
  return {
    userByEmail: (email) => byEmail.get(email),
    userByRefreshToken: (hash, now) => byToken.get(hash, now),
    keepRefreshToken: (...values) => keep.run(...values),
    page: (after, rows) => (after === undefined ? firstPage.all(rows) : nextPage.all(after, rows)),
  };
}
