// Makes tokens with jose for shared-claims to verify, and verifies with jose the tokens that shared-claims made.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// Packages are looked for where the script is started, not where it stands.
const require = createRequire(pathToFileURL(process.cwd() + '/'));
const { SignJWT, jwtVerify } = await import(pathToFileURL(require.resolve('jose')));
const { version } = JSON.parse(readFileSync(require.resolve('jose/package.json')));
const maker = `jose ${version}`;

const read = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const cases = read('cases.json');
const secret = new TextEncoder().encode(cases.secret);

const tokens = {};
for (const { name, claims } of cases.cases) {
  tokens[name] = await new SignJWT(claims)
    .setProtectedHeader({ typ: 'application/at+jwt', kid: cases.kid, alg: 'HS256' })
    .sign(secret);
}
writeFileSync(new URL('jose.json', import.meta.url), JSON.stringify({ made_by: maker, tokens }, null, 2) + '\n');

const ours = read('signet.json').tokens;
for (const { name, claims } of cases.cases) {
  const { payload, protectedHeader } = await jwtVerify(ours[name], secret, {
    algorithms: ['HS256'],
    typ: 'at+jwt',
    issuer: cases.issuer,
    audience: cases.audience,
    requiredClaims: ['sub', 'jti', 'iat', 'exp'],
    currentDate: new Date(cases.now * 1000),
  });
  assert.deepEqual(payload, claims, name);
  assert.deepEqual(protectedHeader, { alg: 'HS256', typ: 'at+jwt', kid: cases.kid });
}
console.log(`${maker}: made ${Object.keys(tokens).length} tokens, verified ${Object.keys(ours).length}`);
