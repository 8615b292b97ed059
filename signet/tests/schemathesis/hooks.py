"""What Schemathesis cannot know of the services: how a file is sent, whom the run needs, and which calls end a log-in."""

import itertools
import json
import os
import urllib.request

import schemathesis

# The users and the sessions that the run itself lives on, and where to make users that it may use up.
NEEDED = set(os.environ["SIGNET_NEEDED_IDS"].split(","))
ORIGIN = os.environ["SIGNET_ORIGIN"]
# After one of these a token is good for nothing any more.
FINAL = {"deleteMe", "logOut"}

numbers = itertools.count()


@schemathesis.serializer("text/csv", "application/x-ndjson")
def as_it_is(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def filter_case(context, case):
    return not NEEDED & {str(value) for value in (case.path_parameters or {}).values()}


@schemathesis.auth(refresh_interval=None)
class AccessToken:
    def get(self, case, context):
        final = case.operation.definition.raw.get("operationId") in FINAL
        return access_token_of_somebody_new() if final else os.environ["SIGNET_ACCESS_TOKEN"]

    def set(self, case, token, context):
        case.headers["Authorization"] = f"Bearer {token}"


def access_token_of_somebody_new():
    somebody = {"email": f"brief-{os.getpid()}-{next(numbers)}@example.com", "password": "violet-anchor-42-meadow"}
    request = urllib.request.Request(
        f"{ORIGIN}/auth/register",
        data=json.dumps(somebody).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["access_token"]
