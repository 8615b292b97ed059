// openid-client against a running stack.

import assert from "node:assert/strict";
import * as client from "openid-client";

const { SIGNET_ISSUER, SIGNET_CLIENT_ID, SIGNET_CLIENT_SECRET, SIGNET_USERNAME, SIGNET_PASSWORD } = process.env;

// The documented switch for http, which this stack speaks on loopback.
const options = { algorithm: "oauth2", execute: [client.allowInsecureRequests] };
const issuer = new URL(SIGNET_ISSUER);
const discover = (authentication) =>
    client.discovery(issuer, SIGNET_CLIENT_ID, undefined, authentication, options);
const refused = (error, promise) =>
    assert.rejects(promise, (refusal) => refusal instanceof client.ResponseBodyError && refusal.error === error);

const config = await discover(client.ClientSecretBasic(SIGNET_CLIENT_SECRET));
assert.equal(config.serverMetadata().issuer, SIGNET_ISSUER);
console.log("OK discovery");

const own = await client.clientCredentialsGrant(config, { scope: "persons:read" });
assert.equal(own.token_type, "bearer");
assert.equal(own.scope, "persons:read");
assert.equal(own.refresh_token, undefined);
const byPost = await discover(client.ClientSecretPost(SIGNET_CLIENT_SECRET));
assert.notEqual((await client.clientCredentialsGrant(byPost)).access_token, own.access_token);
console.log("OK client_credentials");

const logIn = (password) =>
    client.genericGrantRequest(config, "password", { username: SIGNET_USERNAME, password });
const me = (token) => client.fetchProtectedResource(config, token, new URL("/auth/me", issuer), "GET");

const first = await logIn(SIGNET_PASSWORD);
const { sub } = await (await me(first.access_token)).json();
assert.ok(sub);
console.log("OK password");

const second = await client.refreshTokenGrant(config, first.refresh_token);
assert.notEqual(second.refresh_token, first.refresh_token);
assert.notEqual(second.access_token, first.access_token);
console.log("OK refresh");

for (const token of [second.access_token, second.refresh_token]) {
    const told = await client.tokenIntrospection(config, token);
    assert.equal(told.active, true);
    assert.equal(told.sub, sub);
    assert.equal(told.client_id, SIGNET_CLIENT_ID);
}
assert.deepEqual(await client.tokenIntrospection(config, "nonsense"), { active: false });
console.log("OK introspection");

await client.tokenRevocation(config, second.access_token, { token_type_hint: "access_token" });
assert.deepEqual(await client.tokenIntrospection(config, second.access_token), { active: false });
await assert.rejects(
    me(second.access_token),
    (refusal) => refusal instanceof client.WWWAuthenticateChallengeError && refusal.status === 401,
);
await client.tokenRevocation(config, second.refresh_token, { token_type_hint: "refresh_token" });
await refused("invalid_grant", client.refreshTokenGrant(config, second.refresh_token));
console.log("OK revocation");

await refused("invalid_grant", logIn("not the password"));
const wrong = await discover(client.ClientSecretPost("wrong"));
// A wrong secret is answered with a challenge, too, and the library tells of that first.
await assert.rejects(
    client.clientCredentialsGrant(wrong),
    (refusal) => refusal instanceof client.WWWAuthenticateChallengeError && refusal.cause[0].scheme === "basic",
);
await refused("invalid_scope", client.clientCredentialsGrant(config, { scope: "users:write" }));
console.log("OK errors");
