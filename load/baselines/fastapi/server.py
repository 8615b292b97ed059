"""FastAPI as good engineers would write it: SQLAlchemy's asynchronous core, statements compiled once, pages by key,
bcrypt off the event loop, the token believed for what it says. Refresh tokens are looked up and not rotated.
"""

import asyncio
import hashlib
import os
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated

import bcrypt
import jwt
from fastapi import Depends, FastAPI, Form, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import bindparam, event, text
from sqlalchemy.ext.asyncio import create_async_engine

SECRET = os.environ["TOKEN_SECRET"]
URL = os.environ["DATABASE_URL"]
ISSUER = "http://baseline"
SERVICES = ["auth-service", "user-service", "resource-service"]
SCOPES = {
    "user": "persons:read",
    "editor": "persons:read persons:write",
    "admin": "persons:read persons:write users:read",
}
ACCESS_SECONDS = 86_400
REFRESH_SECONDS = 14 * 86_400
# Somebody whom nobody knows pays for a hash, too.
NOBODY = bcrypt.hashpw(b"nobody", bcrypt.gensalt(int(os.environ.get("BCRYPT_COST", "12")))).decode()

if URL.startswith("sqlite:"):
    engine = create_async_engine("sqlite+aiosqlite:///" + URL.removeprefix("sqlite:"), pool_size=8)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare_connection(connection, _record):
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000"):
            connection.execute("PRAGMA " + setting)
else:
    engine = create_async_engine(URL.replace("postgres://", "postgresql+asyncpg://"), pool_size=8, max_overflow=0)

# Each is one statement: no transaction has to be begun and ended around it.
reading = engine.execution_options(isolation_level="AUTOCOMMIT")

USER_BY_EMAIL = text(
    "SELECT u.id, u.name, u.password_hash, r.name AS role FROM users u JOIN user_roles ur ON ur.user_id = u.id "
    "JOIN roles r ON r.id = ur.role_id WHERE u.email = :email ORDER BY r.id DESC LIMIT 1"
)
USER_BY_REFRESH_TOKEN = text(
    "SELECT u.id, u.name, r.name AS role FROM refresh_tokens t JOIN users u ON u.id = t.user_id "
    "JOIN user_roles ur ON ur.user_id = u.id JOIN roles r ON r.id = ur.role_id "
    "WHERE t.token = :token AND t.expires_at > :now ORDER BY r.id DESC LIMIT 1"
)
KEEP_REFRESH_TOKEN = text("INSERT INTO refresh_tokens (token, user_id, expires_at) VALUES (:token, :user, :expires)")
COLUMNS = "SELECT id, name, email, age, created_at, updated_at, version FROM persons"
FIRST_PAGE = text(COLUMNS + " ORDER BY id LIMIT :rows").bindparams(bindparam("rows"))
NEXT_PAGE = text(COLUMNS + " WHERE id > :after ORDER BY id LIMIT :rows").bindparams(bindparam("rows"))

app = FastAPI(openapi_url=None)


class Credentials(BaseModel):
    email: str
    password: str


def problem(status: int, code: str) -> HTTPException:
    return HTTPException(status, detail={"type": "about:blank", "status": status, "code": code})


async def claims(request: Request) -> dict:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer":
        raise problem(401, "token_missing")
    try:
        return jwt.decode(token, SECRET, algorithms=["HS256"], audience=SERVICES[0], issuer=ISSUER)
    except jwt.InvalidTokenError:
        raise problem(401, "token_invalid") from None


async def reader(caller: Annotated[dict, Depends(claims)]) -> dict:
    if "persons:read" not in caller["scope"].split():
        raise problem(403, "insufficient_scope")
    return caller


def access_token(user) -> str:
    now = int(time.time())
    return jwt.encode(
        {
            "iss": ISSUER,
            "sub": str(user.id),
            "aud": SERVICES,
            "iat": now,
            "exp": now + ACCESS_SECONDS,
            "jti": secrets.token_hex(16),
            "sid": secrets.token_hex(16),
            "scope": SCOPES[user.role],
            "roles": [user.role],
            "ver": 1,
        },
        SECRET,
        algorithm="HS256",
    )


def tokens(user, refresh_token: str) -> dict:
    return {
        "access_token": access_token(user),
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
        "refresh_token": refresh_token,
        "scope": SCOPES[user.role],
    }


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@app.post("/auth/login")
async def log_in(credentials: Credentials):
    async with reading.connect() as connection:
        user = (await connection.execute(USER_BY_EMAIL, {"email": credentials.email})).one_or_none()
    stored = user.password_hash if user else NOBODY
    matches = await asyncio.to_thread(bcrypt.checkpw, credentials.password.encode(), stored.encode())
    if not user or not matches:
        raise problem(401, "invalid_credentials")
    refresh_token = secrets.token_urlsafe(32)
    kept = {"token": hash_of(refresh_token), "user": user.id, "expires": int(time.time()) + REFRESH_SECONDS}
    async with engine.begin() as connection:
        await connection.execute(KEEP_REFRESH_TOKEN, kept)
    profile = {"id": user.id, "email": credentials.email, "name": user.name, "roles": [user.role]}
    return JSONResponse({"user": profile, **tokens(user, refresh_token)})


@app.post("/auth/token")
async def refresh(grant_type: Annotated[str, Form()], refresh_token: Annotated[str, Form()]):
    if grant_type != "refresh_token":
        raise problem(400, "unsupported_grant_type")
    async with reading.connect() as connection:
        asked = {"token": hash_of(refresh_token), "now": int(time.time())}
        user = (await connection.execute(USER_BY_REFRESH_TOKEN, asked)).one_or_none()
    if not user:
        raise problem(400, "invalid_grant")
    return JSONResponse(tokens(user, refresh_token))


@app.get("/auth/me")
async def me(caller: Annotated[dict, Depends(claims)]):
    return JSONResponse(caller)


@app.get("/persons")
async def persons(
    _caller: Annotated[dict, Depends(reader)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
):
    async with reading.connect() as connection:
        if cursor is None:
            rows = (await connection.execute(FIRST_PAGE, {"rows": limit + 1})).all()
        else:
            after = urlsafe_b64decode(cursor).decode()
            rows = (await connection.execute(NEXT_PAGE, {"rows": limit + 1, "after": after})).all()
    more = len(rows) > limit
    items = [
        {
            "id": row.id,
            "name": row.name,
            "email": row.email,
            "age": row.age,
            "created_at": datetime.fromtimestamp(row.created_at / 1_000_000, UTC).isoformat(),
            "updated_at": datetime.fromtimestamp(row.updated_at / 1_000_000, UTC).isoformat(),
            "version": row.version,
        }
        for row in rows[:limit]
    ]
    next_cursor = urlsafe_b64encode(items[-1]["id"].encode()).decode() if more else None
    return JSONResponse({"items": items, "next_cursor": next_cursor})
