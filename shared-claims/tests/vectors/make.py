"""Makes tokens with PyJWT for shared-claims to verify, and verifies with PyJWT the tokens that shared-claims made."""

import base64
import hashlib
import hmac
import json
import pathlib

import jwt

HERE = pathlib.Path(__file__).parent
cases = json.loads((HERE / "cases.json").read_text("utf-8"))
maker = f"PyJWT {jwt.__version__}"

secret = cases["secret"].encode()
tag = hmac.new(secret, b"signet key id", hashlib.sha256).digest()
assert cases["kid"] == base64.urlsafe_b64encode(tag[:8]).rstrip(b"=").decode(), "the kid of the secret"

# For each algorithm: its kid, the key that signs, the key that verifies.
PUBLIC = ["kty", "crv", "x", "y", "n", "e", "alg"]
keys = {"HS256": (cases["kid"], secret, secret)}
for key in json.loads((HERE / "keys.json").read_text("utf-8"))["keys"]:
    public = {name: key[name] for name in PUBLIC if name in key}
    keys[key["alg"]] = (key["kid"], jwt.PyJWK(key).key, jwt.PyJWK(public).key)

tokens = {
    alg: {
        case["name"]: jwt.encode(case["claims"], signing, algorithm=alg, headers={"typ": "at+jwt", "kid": kid})
        for case in cases["cases"]
    }
    for alg, (kid, signing, _) in keys.items()
}
text = json.dumps({"made_by": maker, "tokens": tokens}, indent=2, ensure_ascii=False)
(HERE / "pyjwt.json").write_text(text + "\n", "utf-8")

ours = json.loads((HERE / "signet.json").read_text("utf-8"))["tokens"]
assert ours.keys() == keys.keys()
for alg, (kid, _, verifying) in keys.items():
    for case in cases["cases"]:
        token = ours[alg][case["name"]]
        claims = jwt.decode(
            token,
            verifying,
            algorithms=[alg],
            audience=cases["audience"],
            issuer=cases["issuer"],
            # The clock is the cases', not the system's.
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "sub", "jti"]},
        )
        assert claims == case["claims"], case["name"]
        assert jwt.get_unverified_header(token) == {"alg": alg, "typ": "at+jwt", "kid": kid}
print(f"{maker}: made and verified {len(cases['cases'])} tokens with each of {', '.join(keys)}")
