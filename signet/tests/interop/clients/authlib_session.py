"""Authlib's OAuth2Session against a running stack."""

import os

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

ISSUER = os.environ["SIGNET_ISSUER"]
CLIENT_ID = os.environ["SIGNET_CLIENT_ID"]
CLIENT_SECRET = os.environ["SIGNET_CLIENT_SECRET"]
USERNAME = os.environ["SIGNET_USERNAME"]
PASSWORD = os.environ["SIGNET_PASSWORD"]


def session(auth_method="client_secret_basic", secret=CLIENT_SECRET):
    return OAuth2Session(
        CLIENT_ID,
        secret,
        token_endpoint_auth_method=auth_method,
        revocation_endpoint_auth_method=auth_method,
        default_timeout=30,
    )


def refused(error, call, *arguments, **parameters):
    try:
        call(*arguments, **parameters)
    except OAuthError as refusal:
        assert refusal.error == error, refusal
    else:
        raise AssertionError(f"not refused with {error}")


client = session()

well_known = get_well_known_url(ISSUER, external=True)
response = client.get(well_known, withhold_token=True)
response.raise_for_status()
metadata = AuthorizationServerMetadata(response.json())
assert metadata["issuer"] == ISSUER, metadata
# All that it can check, except that it takes an empty list of response types for a missing one: a server without an
# authorization endpoint has none.
assert metadata["response_types_supported"] == []
for key in metadata.REGISTRY_KEYS:
    if key != "response_types_supported":
        getattr(metadata, f"validate_{key}")()
token_endpoint = metadata["token_endpoint"]
print("OK discovery")

own = session().fetch_token(token_endpoint, grant_type="client_credentials", scope="persons:read")
assert own["token_type"] == "Bearer" and own["scope"] == "persons:read" and own["expires_in"] > 0, own
assert "refresh_token" not in own, own
by_post = session("client_secret_post").fetch_token(token_endpoint, grant_type="client_credentials")
assert by_post["access_token"] != own["access_token"]
print("OK client_credentials")

first = client.fetch_token(token_endpoint, username=USERNAME, password=PASSWORD)
assert first["refresh_token"], first
me = client.get(f"{ISSUER}/auth/me")
assert me.status_code == 200 and me.json()["iss"] == ISSUER, me.text
subject = me.json()["sub"]
print("OK password")

second = client.refresh_token(token_endpoint, refresh_token=first["refresh_token"])
assert second["refresh_token"] != first["refresh_token"]
assert second["access_token"] != first["access_token"]
print("OK refresh")

introspection_endpoint = metadata["introspection_endpoint"]
for token, hint in [(second["access_token"], "access_token"), (second["refresh_token"], "refresh_token")]:
    told = client.introspect_token(introspection_endpoint, token=token, token_type_hint=hint).json()
    assert told["active"] is True and told["sub"] == subject and told["client_id"] == CLIENT_ID, told
told = client.introspect_token(introspection_endpoint, token="nonsense").json()
assert told == {"active": False}, told
print("OK introspection")

revocation_endpoint = metadata["revocation_endpoint"]
revoked = client.revoke_token(revocation_endpoint, token=second["access_token"], token_type_hint="access_token")
assert revoked.status_code == 200, revoked.text
assert client.introspect_token(introspection_endpoint, token=second["access_token"]).json() == {"active": False}
assert client.get(f"{ISSUER}/auth/me").status_code == 401
revoked = client.revoke_token(revocation_endpoint, token=second["refresh_token"], token_type_hint="refresh_token")
assert revoked.status_code == 200, revoked.text
refused("invalid_grant", client.refresh_token, token_endpoint, refresh_token=second["refresh_token"])
print("OK revocation")

refused("invalid_grant", session().fetch_token, token_endpoint, username=USERNAME, password="not the password")
refused("invalid_client", session(secret="wrong").fetch_token, token_endpoint, grant_type="client_credentials")
refused("invalid_scope", session().fetch_token, token_endpoint, grant_type="client_credentials", scope="users:write")
print("OK errors")
