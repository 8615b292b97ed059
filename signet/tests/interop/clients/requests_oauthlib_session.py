"""requests-oauthlib, and oauthlib beneath it, against a running stack.

Neither has discovery, and of introspection they know nothing: the session sends the request of RFC 7662, 2.1.
"""

import os

# The documented switch for http, which this stack speaks on loopback.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

from oauthlib.oauth2 import BackendApplicationClient, LegacyApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

ISSUER = os.environ["SIGNET_ISSUER"]
CLIENT_ID = os.environ["SIGNET_CLIENT_ID"]
CLIENT_SECRET = os.environ["SIGNET_CLIENT_SECRET"]
USERNAME = os.environ["SIGNET_USERNAME"]
PASSWORD = os.environ["SIGNET_PASSWORD"]
TOKEN = f"{ISSUER}/auth/token"
INTROSPECTION = f"{ISSUER}/auth/introspect"
REVOCATION = f"{ISSUER}/auth/revoke"
BASIC = HTTPBasicAuth(CLIENT_ID, CLIENT_SECRET)


def refused(error, call, *arguments, **parameters):
    try:
        call(*arguments, **parameters)
    except OAuth2Error as refusal:
        assert refusal.error == error, refusal
    else:
        raise AssertionError(f"not refused with {error}")


def of_itself(scope=None):
    return OAuth2Session(client=BackendApplicationClient(CLIENT_ID, scope=scope))


def of_a_user():
    return OAuth2Session(client=LegacyApplicationClient(CLIENT_ID))


own = of_itself(["persons:read"]).fetch_token(TOKEN, auth=BASIC, timeout=30)
assert own["token_type"] == "Bearer" and own.scope == "persons:read", own
assert "refresh_token" not in own, own
by_post = of_itself().fetch_token(TOKEN, client_secret=CLIENT_SECRET, include_client_id=True, timeout=30)
assert by_post["access_token"] != own["access_token"]
print("OK client_credentials")

session = of_a_user()
first = session.fetch_token(TOKEN, username=USERNAME, password=PASSWORD, auth=BASIC, timeout=30)
me = session.get(f"{ISSUER}/auth/me", timeout=30)
assert me.status_code == 200 and me.json()["iss"] == ISSUER, me.text
subject = me.json()["sub"]
print("OK password")

second = session.refresh_token(TOKEN, refresh_token=first["refresh_token"], auth=BASIC, timeout=30)
assert second["refresh_token"] != first["refresh_token"]
assert second["access_token"] != first["access_token"]
print("OK refresh")


def introspect(token):
    answer = session.post(INTROSPECTION, data={"token": token}, auth=BASIC, withhold_token=True, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


for token in [second["access_token"], second["refresh_token"]]:
    told = introspect(token)
    assert told["active"] is True and told["sub"] == subject and told["client_id"] == CLIENT_ID, told
assert introspect("nonsense") == {"active": False}
print("OK introspection")


def revoke(token, hint):
    # oauthlib builds the request of RFC 7009, 2.1; its own check wants https, or the switch above.
    url, headers, body = session._client.prepare_token_revocation_request(REVOCATION, token, token_type_hint=hint)
    answer = session.post(url, headers=headers, data=body, auth=BASIC, withhold_token=True, timeout=30)
    assert answer.status_code == 200, answer.text


revoke(second["access_token"], "access_token")
assert introspect(second["access_token"]) == {"active": False}
assert session.get(f"{ISSUER}/auth/me", timeout=30).status_code == 401
revoke(second["refresh_token"], "refresh_token")
refused("invalid_grant", session.refresh_token, TOKEN, refresh_token=second["refresh_token"], auth=BASIC, timeout=30)
print("OK revocation")

refused("invalid_grant", of_a_user().fetch_token, TOKEN, username=USERNAME, password="not the password", auth=BASIC)
wrong = HTTPBasicAuth(CLIENT_ID, "wrong")
refused("invalid_client", of_itself().fetch_token, TOKEN, auth=wrong)
refused("invalid_scope", of_itself(["users:write"]).fetch_token, TOKEN, auth=BASIC)
print("OK errors")
