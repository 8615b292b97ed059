"""Makes tokens with PyJWT for shared-claims to verify, and verifies with PyJWT the tokens that shared-claims made."""

import base64
import hashlib
import hmac
import json
import pathlib

import jwt

HERE = pathlib.Path(__file__).parent
cases = json.loads((HERE / "cases.json").read_text("utf-8"))
secret = cases["secret"].encode()
maker = f"PyJWT {jwt.__version__}"

tag = hmac.new(secret, b"signet key id", hashlib.sha256).digest()
assert cases["kid"] == base64.urlsafe_b64encode(tag[:8]).rstrip(b"=").decode(), "the kid of the secret"

tokens = {
    case["name"]: jwt.encode(
        case["claims"], secret, algorithm="HS256", headers={"typ": "at+jwt", "kid": cases["kid"]}
    )
    for case in cases["cases"]
}
text = json.dumps({"made_by": maker, "tokens": tokens}, indent=2, ensure_ascii=False)
(HERE / "pyjwt.json").write_text(text + "\n", "utf-8")

ours = json.loads((HERE / "signet.json").read_text("utf-8"))["tokens"]
for case in cases["cases"]:
    token = ours[case["name"]]
    claims = jwt.decode(
        token,
        secret,
        algorithms=["HS256"],
        audience=cases["audience"],
        issuer=cases["issuer"],
        # The clock is the cases', not the system's.
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "sub", "jti"]},
    )
    assert claims == case["claims"], case["name"]
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "at+jwt", "kid": cases["kid"]}
print(f"{maker}: made {len(tokens)} tokens, verified {len(ours)}")
