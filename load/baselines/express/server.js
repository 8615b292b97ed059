// Express as good engineers would write it: one look-up where one is enough, prepared statements, pages by key, the
// token believed for what it says. Refresh tokens are looked up and not rotated, as in most such services.
import { createHash, createSecretKey, randomBytes } from "node:crypto";
import bcrypt from "bcrypt";
import express from "express";
import jwt from "jsonwebtoken";
import { openStore } from "./store.js";

const { PORT, DATABASE_URL, TOKEN_SECRET } = process.env;
const ISSUER = "http://baseline";
const SERVICES = ["auth-service", "user-service", "resource-service"];
const SCOPES = {
  user: "persons:read",
  editor: "persons:read persons:write",
  admin: "persons:read persons:write users:read",
};
const ACCESS_SECONDS = 86_400;
const REFRESH_SECONDS = 14 * 86_400;

// A string would be tried as a PEM file each time: 400 µs a token.
const SECRET = createSecretKey(Buffer.from(TOKEN_SECRET));
const store = openStore(DATABASE_URL);
// Somebody whom nobody knows pays for a hash, too.
const NOBODY = bcrypt.hashSync("nobody", Number(process.env.BCRYPT_COST ?? 12));

const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.use("/auth/login", express.json({ limit: "64kb" }));
app.use("/auth/token", express.urlencoded({ extended: false, limit: "64kb" }));

const hashOf = (token) => createHash("sha256").update(token).digest("hex");

function accessToken(user) {
  const scope = SCOPES[user.role];
  const claims = { scope, roles: [user.role], ver: 1, sid: randomBytes(16).toString("hex") };
  return jwt.sign(claims, SECRET, {
    algorithm: "HS256",
    issuer: ISSUER,
    audience: SERVICES,
    subject: String(user.id),
    jwtid: randomBytes(16).toString("hex"),
    expiresIn: ACCESS_SECONDS,
  });
}

function authorized(scope) {
  return (request, response, next) => {
    const header = request.headers.authorization;
    if (!header?.startsWith("Bearer ")) return problem(response, 401, "token_missing");
    try {
      request.claims = jwt.verify(header.slice(7), SECRET, {
        algorithms: ["HS256"],
        issuer: ISSUER,
        audience: SERVICES[0],
      });
    } catch {
      return problem(response, 401, "token_invalid");
    }
    if (scope && !request.claims.scope.split(" ").includes(scope)) return problem(response, 403, "insufficient_scope");
    next();
  };
}

function problem(response, status, code) {
  response.status(status).type("application/problem+json").send(JSON.stringify({ type: "about:blank", status, code }));
}

app.post("/auth/login", async (request, response) => {
  const { email, password } = request.body ?? {};
  if (typeof email !== "string" || typeof password !== "string") return problem(response, 422, "validation_failed");
  const user = await store.userByEmail(email);
  const matches = await bcrypt.compare(password, user?.password_hash ?? NOBODY);
  if (!user || !matches) return problem(response, 401, "invalid_credentials");
  const refreshToken = randomBytes(32).toString("base64url");
  await store.keepRefreshToken(hashOf(refreshToken), user.id, Math.floor(Date.now() / 1000) + REFRESH_SECONDS);
  response.json({
    user: { id: user.id, email, name: user.name, roles: [user.role] },
    access_token: accessToken(user),
    token_type: "Bearer",
    expires_in: ACCESS_SECONDS,
    refresh_token: refreshToken,
    scope: SCOPES[user.role],
  });
});

app.post("/auth/token", async (request, response) => {
  const { grant_type: grant, refresh_token: refreshToken } = request.body ?? {};
  if (grant !== "refresh_token" || typeof refreshToken !== "string") return problem(response, 400, "invalid_request");
  const user = await store.userByRefreshToken(hashOf(refreshToken), Math.floor(Date.now() / 1000));
  if (!user) return problem(response, 400, "invalid_grant");
  response.json({
    access_token: accessToken(user),
    token_type: "Bearer",
    expires_in: ACCESS_SECONDS,
    refresh_token: refreshToken,
    scope: SCOPES[user.role],
  });
});

app.get("/auth/me", authorized(), (request, response) => response.json(request.claims));

app.get("/persons", authorized("persons:read"), async (request, response) => {
  const limit = Math.min(Math.max(Number(request.query.limit ?? 50) || 50, 1), 200);
  const { cursor } = request.query;
  const after = typeof cursor === "string" ? Buffer.from(cursor, "base64url").toString() : undefined;
  const rows = await store.page(after, limit + 1);
  const more = rows.length > limit;
  const items = (more ? rows.slice(0, limit) : rows).map((row) => ({
    id: row.id,
    name: row.name,
    email: row.email,
    age: row.age,
    created_at: new Date(Number(row.created_at) / 1000).toISOString(),
    updated_at: new Date(Number(row.updated_at) / 1000).toISOString(),
    version: Number(row.version),
  }));
  response.json({ items, next_cursor: more ? Buffer.from(items.at(-1).id).toString("base64url") : null });
});

app.listen(Number(PORT), "127.0.0.1");
