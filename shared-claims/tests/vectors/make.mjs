// Makes tokens with jose for shared-claims to verify, and verifies with jose the tokens that shared-claims made.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// Packages are looked for where the script is started, not where it stands.
const require = createRequire(pathToFileURL(process.cwd() + '/'));
const { SignJWT, importJWK, jwtVerify } = await import(pathToFileURL(require.resolve('jose')));
const { version } = JSON.parse(readFileSync(require.resolve('jose/package.json')));
const maker = `jose ${version}`;

const read = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const cases = read('cases.json');

// For each algorithm: its kid, the key that signs, the key that verifies.
const secret = new TextEncoder().encode(cases.secret);
const keys = { HS256: { kid: cases.kid, signing: secret, verifying: secret } };
for (const key of read('keys.json').keys) {
  const { d, p, q, dp, dq, qi, ...public_ } = key;
  keys[key.alg] = { kid: key.kid, signing: await importJWK(key), verifying: await importJWK(public_) };
}

const tokens = {};
for (const [alg, { kid, signing }] of Object.entries(keys)) {
  tokens[alg] = {};
  for (const { name, claims } of cases.cases) {
    tokens[alg][name] = await new SignJWT(claims)
      .setProtectedHeader({ typ: 'application/at+jwt', kid, alg })
      .sign(signing);
  }
}
writeFileSync(new URL('jose.json', import.meta.url), JSON.stringify({ made_by: maker, tokens }, null, 2) + '\n');

const ours = read('signet.json').tokens;
assert.deepEqual(Object.keys(ours).sort(), Object.keys(keys).sort());
for (const [alg, { kid, verifying }] of Object.entries(keys)) {
  for (const { name, claims } of cases.cases) {
    const { payload, protectedHeader } = await jwtVerify(ours[alg][name], verifying, {
      algorithms: [alg],
      typ: 'at+jwt',
      issuer: cases.issuer,
      audience: cases.audience,
      requiredClaims: ['sub', 'jti', 'iat', 'exp'],
      currentDate: new Date(cases.now * 1000),
    });
    assert.deepEqual(payload, claims, name);
    assert.deepEqual(protectedHeader, { alg, typ: 'at+jwt', kid });
  }
}
console.log(`${maker}: made and verified ${cases.cases.length} tokens with each of ${Object.keys(keys).join(', ')}`);
