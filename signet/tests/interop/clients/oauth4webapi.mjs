// oauth4webapi against a running stack.

import assert from "node:assert/strict";
import * as oauth from "oauth4webapi";

const { SIGNET_ISSUER, SIGNET_CLIENT_ID, SIGNET_CLIENT_SECRET, SIGNET_USERNAME, SIGNET_PASSWORD } = process.env;

// The documented switch for http, which this stack speaks on loopback.
const options = { [oauth.allowInsecureRequests]: true };
const client = { client_id: SIGNET_CLIENT_ID };
const basic = oauth.ClientSecretBasic(SIGNET_CLIENT_SECRET);
const post = oauth.ClientSecretPost(SIGNET_CLIENT_SECRET);

const refused = (error, promise) =>
    assert.rejects(promise, (refusal) => refusal instanceof oauth.ResponseBodyError && refusal.error === error);

const issuer = new URL(SIGNET_ISSUER);
const as = await oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...options }),
);
console.log("OK discovery");

async function clientCredentials(authentication, parameters) {
    const response = await oauth.clientCredentialsGrantRequest(as, client, authentication, parameters, options);
    return oauth.processClientCredentialsResponse(as, client, response);
}

const own = await clientCredentials(basic, { scope: "persons:read" });
assert.equal(own.token_type, "bearer");
assert.equal(own.scope, "persons:read");
assert.equal(own.refresh_token, undefined);
assert.notEqual((await clientCredentials(post, {})).access_token, own.access_token);
console.log("OK client_credentials");

if (process.env.SIGNET_PUBLISHES_KEYS) {
    // As a resource server: signature by the published key, and what RFC 9068 demands of an access token.
    const request = new Request("http://orders.example/", { headers: { authorization: `Bearer ${own.access_token}` } });
    const claims = await oauth.validateJwtAccessToken(as, request, "resource-service", options);
    assert.equal(claims.client_id, SIGNET_CLIENT_ID);
    await assert.rejects(oauth.validateJwtAccessToken(as, request, "somebody-else", options));
    console.log("OK validation");
}

async function password(username, secret) {
    const parameters = { username, password: secret };
    const response = await oauth.genericTokenEndpointRequest(as, client, basic, "password", parameters, options);
    return oauth.processGenericTokenEndpointResponse(as, client, response);
}

const first = await password(SIGNET_USERNAME, SIGNET_PASSWORD);
const me = (token) =>
    oauth.protectedResourceRequest(token, "GET", new URL("/auth/me", issuer), undefined, undefined, options);
const { sub } = await (await me(first.access_token)).json();
assert.ok(sub);
console.log("OK password");

async function refresh(token) {
    const response = await oauth.refreshTokenGrantRequest(as, client, basic, token, options);
    return oauth.processRefreshTokenResponse(as, client, response);
}

const second = await refresh(first.refresh_token);
assert.notEqual(second.refresh_token, first.refresh_token);
assert.notEqual(second.access_token, first.access_token);
console.log("OK refresh");

async function introspect(token) {
    const response = await oauth.introspectionRequest(as, client, basic, token, options);
    return oauth.processIntrospectionResponse(as, client, response);
}

for (const token of [second.access_token, second.refresh_token]) {
    const told = await introspect(token);
    assert.equal(told.active, true);
    assert.equal(told.sub, sub);
    assert.equal(told.client_id, SIGNET_CLIENT_ID);
}
assert.deepEqual(await introspect("nonsense"), { active: false });
console.log("OK introspection");

async function revoke(token) {
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, basic, token, options));
}

await revoke(second.access_token);
assert.deepEqual(await introspect(second.access_token), { active: false });
await assert.rejects(
    me(second.access_token),
    // It has read the header WWW-Authenticate.
    (refusal) =>
        refusal instanceof oauth.WWWAuthenticateChallengeError &&
        refusal.status === 401 &&
        refusal.cause[0].parameters.error === "invalid_token",
);
await revoke(second.refresh_token);
await refused("invalid_grant", refresh(second.refresh_token));
console.log("OK revocation");

await refused("invalid_grant", password(SIGNET_USERNAME, "not the password"));
// A wrong secret is answered with a challenge, too, and the library tells of that first.
for (const wrong of [oauth.ClientSecretBasic("wrong"), oauth.ClientSecretPost("wrong")]) {
    await assert.rejects(
        clientCredentials(wrong, {}),
        (refusal) =>
            refusal instanceof oauth.WWWAuthenticateChallengeError &&
            refusal.status === 401 &&
            refusal.cause[0].scheme === "basic",
    );
}
await refused("invalid_scope", clientCredentials(basic, { scope: "users:write" }));
console.log("OK errors");
