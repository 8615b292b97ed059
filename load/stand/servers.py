"""Signet's services and the baselines as processes: built, filled, started, stopped."""

import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from . import data, machine
from .postgres import Failure, Postgres, free_port, programs

ROOT = Path(__file__).resolve().parent.parent.parent
LOAD = ROOT / "load"
CACHE = LOAD / ".cache"
SERVICES = ("user", "auth", "resource")


def call(
    address: str, method: str, path: str, body: str | None = None, headers: dict | None = None, timeout: float = 120
):
    """One request: the status and the body."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


ANSWERS = (200, 401, 403)


class Server:
    """A process that listens."""

    def __init__(self, name: str, command: list, env: dict, log: Path, port: int, ready: str):
        self.name, self.log = name, log
        self.address = f"127.0.0.1:{port}"
        self.began = time.monotonic()
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.pid = self.process.pid
        if ready:
            self.wait_for(ready)

    def wait_for(self, path: str, seconds: float = 60) -> None:
        """Until it answers that all is well, or that a token is missing."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                if call(self.address, "GET", path, timeout=5)[0] in ANSWERS:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        self.stop()
        raise Failure(f"{self.name} does not start: {self.log.read_text(errors='replace')[-2000:]}")

    def cpu(self) -> machine.Cpu:
        return machine.Cpu(self.pid)

    def rss(self) -> int:
        return machine.memory_kib(self.pid, "VmRSS")

    def anonymous(self) -> int:
        """What is the process's own: the rest of its size is pages of the program's file and of libraries."""
        return machine.memory_kib(self.pid, "RssAnon")

    def peak(self) -> int:
        return machine.memory_kib(self.pid, "VmHWM")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def clean_environment(**more: str) -> dict:
    """This process's environment without what would configure a service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNET__")}
    return {**kept, "RUST_LOG": os.environ.get("RUST_LOG", "warn"), **more}


class Stand:
    """A working directory, the programs, and a PostgreSQL server once one is needed. Stops what it has started."""

    def __init__(self, work: Path, build: bool = True, baselines: bool = True, release: bool = True):
        # Whoever is told to stop stops what it has started, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.work = work
        self.target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        if not self.target.is_absolute():
            self.target = ROOT / self.target
        self.profile = "release" if release else "debug"
        self.bin = self.target / self.profile
        self.driver = self.target / "load" / self.profile / "signet-load-driver"
        self._running: list[Server] = []
        self._postgres: Postgres | None = None
        self._count = 0
        if build:
            # A debug build is the one that the tests have made.
            wanted = [f"-p={service}-service" for service in SERVICES] if release else ["--workspace", "--tests"]
            self._cargo("building Signet", ROOT, self.target, "--bins", *wanted)
            self._cargo("building the driver", LOAD / "driver", self.target / "load")
        for program in (self.driver, *(self.bin / f"{service}-service" for service in SERVICES)):
            if not program.exists():
                raise Failure(f"{program} is not there: build it, or leave --no-build out")
        self.baselines = available_baselines(self, build) if baselines else {}

    def _cargo(self, what: str, directory: Path, target: Path, *more: str) -> None:
        say(what)
        env = {**os.environ, "CARGO_TARGET_DIR": str(target)}
        command = ["cargo", "build", "--locked", "--quiet", *more]
        if self.profile == "release":
            command.append("--release")
        if subprocess.run(command, cwd=directory, env=env, check=False).returncode:
            raise Failure(f"{what} failed")

    @property
    def postgres(self) -> Postgres:
        if not self._postgres:
            say("starting PostgreSQL")
            self._postgres = Postgres(self.work / "postgres")
        return self._postgres

    @property
    def postgres_version(self) -> str | None:
        return self._postgres.version if self._postgres else None

    def has_postgres(self) -> bool:
        return programs() is not None and shutil.which("psql") is not None

    def name(self, prefix: str) -> str:
        """A name that nothing else in this run has."""
        self._count += 1
        return f"{prefix}_{self._count}"

    def persons_file(self, count: int, older_by: int = 0) -> Path:
        return data.write_persons(self.work / f"persons-{count}-{older_by}.csv", count, older_by)

    def start(self, *arguments, **named) -> Server:
        server = Server(*arguments, **named)
        self._running.append(server)
        return server

    def stop(self) -> None:
        for server in self._running:
            server.stop()
        if self._postgres:
            self._postgres.stop()


class Signet:
    """The three services, each a process, on databases of their own."""

    label = "Signet"

    def __init__(
        self,
        stand: Stand,
        database: str,
        *,
        persons: int = 0,
        users: int = 0,
        cost: int = 4,
        workers: int = 1,
        **settings: str,
    ):
        self.stand, self.database = stand, database
        self.name = stand.name("signet")
        self.directory = stand.work / self.name
        self.directory.mkdir()
        ports = {service: free_port() for service in SERVICES}
        self.common = {
            "SIGNET__TOKENS__SECRET": secrets.token_urlsafe(48),
            "SIGNET__SERVER__WORKERS": str(workers),
            "SIGNET__SERVICES__AUTH_URL": f"http://127.0.0.1:{ports['auth']}",
            # Clients come from many addresses, all through one proxy.
            "SIGNET__SERVER__TRUSTED_PROXIES": "127.0.0.1",
        }
        self.more = settings
        self.own = {
            "user": {
                "SIGNET__PASSWORDS__COST": str(cost),
                "SIGNET__BOOTSTRAP__ADMIN_EMAIL": data.ADMIN,
                "SIGNET__BOOTSTRAP__ADMIN_PASSWORD": data.PASSWORD,
            },
            "auth": {
                "SIGNET__REFRESH__SECRET": secrets.token_urlsafe(48),
                "SIGNET__SERVICES__USER_URL": f"http://127.0.0.1:{ports['user']}",
                "SIGNET__TOKENS__ACCESS_TTL_SECONDS": "86400",
            },
            "resource": {},
        }
        self.urls = {service: self._database(service) for service in SERVICES}
        self.servers: dict[str, Server] = {}
        for service in SERVICES:
            self.servers[service] = self.launch(service, ports[service], ready="")
        # None is ready without the others.
        for server in self.servers.values():
            server.wait_for("/readyz")
        self.token = _log_in(self.auth)["access_token"]
        if users:
            self._add_users(users)
        if persons:
            self.load_persons(stand.persons_file(persons))
            if database == "postgres":
                stand.postgres.run("VACUUM ANALYZE", database=self.urls["resource"].rpartition("/")[2])

    def _database(self, service: str) -> str:
        if self.database == "sqlite":
            return f"sqlite:{self.directory / service}.db"
        return self.stand.postgres.create(f"{self.name}_{service}")

    def launch(self, service: str, port: int, ready: str = "/readyz", url: str | None = None) -> Server:
        """Starts one of the services, as it was configured."""
        env = clean_environment(
            **self._settings(service),
            SIGNET__SERVER__BIND=f"127.0.0.1:{port}",
            SIGNET__DATABASE__URL=url or self.urls[service],
        )
        log = self.directory / f"{service}.log"
        return self.stand.start(f"{service}-service", [self.stand.bin / f"{service}-service"], env, log, port, ready)

    def _settings(self, service: str) -> dict[str, str]:
        """The configuration of a service, without what only others know."""
        settings = {**self.common, **self.own[service], **self.more}
        known = self.defaults(service)
        return {key: value for key, value in settings.items() if _is_known(known, key)}

    def defaults(self, service: str) -> dict:
        """The commented defaults: what a service can be told, and what it does if it is told nothing."""
        return tomllib.loads((ROOT / f"{service}-service/config/default.toml").read_text())

    @property
    def auth(self) -> str:
        return self.servers["auth"].address

    @property
    def resource(self) -> str:
        return self.servers["resource"].address

    def server_for(self, what: str) -> Server:
        return self.servers["resource" if what == "page" else "auth"]

    def log_in(self) -> dict:
        return _log_in(self.auth)

    def load_persons(self, file: Path, address: str | None = None) -> float:
        """Imports a file, and gives the seconds that it took."""
        return upload(f"http://{address or self.resource}/persons/import", self.token, file)

    def _add_users(self, count: int) -> None:
        """Users like the admin, but editors: the same password, so the same hash."""
        overrides = {
            # Of the form that ids have: twelve decimal digits are hexadecimal ones, too.
            "id": "'00000000-0000-7000-8000-' || (100000000000 + n)",
            "email": "'user' || n || '@example.com'",
            "username": "NULL",
            "username_key": "NULL",
            "roles": "'editor'",
            "search_text": "'user' || n",
        }
        if self.database == "sqlite":
            connection = sqlite3.connect(self.directory / "user.db", timeout=30)
            columns = [row[1] for row in connection.execute("PRAGMA table_info(users)")]
            numbers = f"(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n + 1 < {count}) SELECT n FROM c)"
        else:
            database = self.urls["user"].rpartition("/")[2]
            columns = self.stand.postgres.run(
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'users' AND table_schema = 'public' "
                "AND is_generated = 'NEVER'",
                database=database,
            ).split()
            numbers = f"generate_series(0, {count - 1}) AS c(n)"
        values = ", ".join(overrides.get(column, f"users.{column}") for column in columns)
        statement = (
            f"INSERT INTO users ({', '.join(columns)}) SELECT {values} FROM users, {numbers} "
            f"WHERE users.email = '{data.ADMIN}'"
        )
        if self.database == "sqlite":
            with connection:
                connection.execute(statement)
            connection.close()
        else:
            self.stand.postgres.run(statement + ";", database=database)

    def memory(self, field: str = "rss") -> dict[str, int]:
        return {name: getattr(server, field)() for name, server in self.servers.items()}

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()


JSON = {"content-type": "application/json"}


def _is_known(defaults: dict, variable: str) -> bool:
    _, section, key = variable.lower().split("__", 2)
    return key in defaults.get(section, {})


def _log_in(address: str, email: str = data.ADMIN) -> dict:
    credentials = json.dumps({"email": email, "password": data.PASSWORD})
    # Hashing stands back behind everything else, so on a busy machine a try may come to nothing.
    for _ in range(20):
        status, body = call(address, "POST", "/auth/login", credentials, JSON)
        if status != 503:
            break
        time.sleep(0.5)
    if status != 200:
        raise Failure(f"no log-in at {address}: {status} {body.decode(errors='replace')[:500]}")
    return json.loads(body)


def upload(url: str, token: str, file: Path) -> float:
    """Sends a CSV file as curl streams it."""
    begin = time.monotonic()
    command = [
        "curl",
        "-sS",
        "-X",
        "POST",
        "-T",
        file,
        "-H",
        f"authorization: Bearer {token}",
        "-H",
        "content-type: text/csv",
    ]
    done = subprocess.run(
        [*command, "-H", "expect:", "-w", "\n%{http_code}", url], capture_output=True, text=True, check=False
    )
    took = time.monotonic() - begin
    body, _, status = done.stdout.rpartition("\n")
    if status != "200" or json.loads(body)["rejected"]:
        raise Failure(f"the import failed: {status} {body[:500]} {done.stderr}")
    return took


class Baseline:
    """A program that answers /auth/login, /auth/token, /auth/me and /persons as Signet does."""

    def __init__(self, stand: Stand, key: str, label: str, command: list, databases: tuple[str, ...]):
        self.stand, self.key, self.label, self.command, self.databases = stand, key, label, command, databases

    def launch(self, url: str, ready: str = "/auth/me") -> Server:
        port = free_port()
        env = clean_environment(
            PORT=str(port),
            DATABASE_URL=url,
            TOKEN_SECRET="a-secret-for-the-baselines-of-48-bytes-or-so-long",
            NODE_ENV="production",
        )
        command = [word.replace("{port}", str(port)) if isinstance(word, str) else word for word in self.command]
        return self.stand.start(self.key, command, env, self.stand.work / f"{self.key}.log", port, ready)


class Running:
    """A baseline that runs, with what is asked of it the way it is asked of Signet."""

    def __init__(self, baseline: Baseline, url: str):
        self.baseline, self.label, self.url = baseline, baseline.label, url
        self.server = baseline.launch(url)
        self.token = self.log_in()["access_token"]

    auth = resource = property(lambda self: self.server.address)

    @property
    def servers(self) -> dict[str, Server]:
        return {self.baseline.key: self.server}

    def server_for(self, _what: str) -> Server:
        return self.server

    def log_in(self) -> dict:
        return _log_in(self.server.address)

    def stop(self) -> None:
        self.server.stop()


def fill_baseline(stand: Stand, database: str, persons: int, cost: int, users: int = 500) -> str:
    """A database for the baselines, which they share: they change no more of it than their refresh tokens."""
    schema = (LOAD / "baselines/schema.sql").read_text()
    if database == "sqlite":
        path = stand.work / f"{stand.name('baseline')}.db"
        data.fill_baseline_sqlite(path, schema, persons, users, cost)
        return f"sqlite:{path}"
    name = stand.name("baseline")
    url = stand.postgres.create(name)
    stand.postgres.run(*data.baseline_postgres_script(schema, stand.persons_file(persons), users, cost), database=name)
    return url


def available_baselines(stand: Stand, build: bool) -> dict[str, Baseline]:
    """Those that this machine can run; of the others it is said why not."""
    found: dict[str, Baseline] = {}
    both, postgres = ("sqlite", "postgres"), ("postgres",)
    if shutil.which("node") and shutil.which("npm"):
        directory = _installed("express", ["package-lock.json", "package.json"], _install_express)
        found["tutorial"] = Baseline(
            stand, "tutorial", "Express as the tutorials write it", ["node", directory / "tutorial.js"], postgres
        )
        found["express"] = Baseline(stand, "express", "Express done well", ["node", directory / "server.js"], both)
    else:
        say("no Express: node and npm are not on this machine")
    try:
        directory = _installed("fastapi", ["requirements.txt"], _install_fastapi)
        command = [
            directory / "venv/bin/python",
            "-m",
            "uvicorn",
            "--app-dir",
            directory,
            "server:app",
            "--port",
            "{port}",
        ]
        command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        found["fastapi"] = Baseline(stand, "fastapi", "FastAPI", command, both)
    except subprocess.CalledProcessError as error:
        say(f"no FastAPI: {error}")
    target = stand.target / "load/crates"
    if build:
        stand._cargo("building the crates used straight", LOAD / "baselines/crates", target)
    program = target / "release/signet-baseline-crates"
    if program.exists():
        found["crates"] = Baseline(stand, "crates", "crates used straight", [program], both)
    return found


def _installed(name: str, locks: list[str], install) -> Path:
    """A copy of a baseline in the cache, with the packages that its lock file names."""
    source, directory = LOAD / "baselines" / name, CACHE / name
    directory.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, directory)
    digest = hashlib.sha256(b"".join((source / lock).read_bytes() for lock in locks)).hexdigest()
    stamp = directory / ".installed"
    if not stamp.exists() or stamp.read_text() != digest:
        say(f"installing the packages of {name}")
        install(directory)
        stamp.write_text(digest)
    return directory


def _install_express(directory: Path) -> None:
    env = {**os.environ}
    # better-sqlite3 is compiled where no binary of it can be fetched, with the headers that came with Node.
    prefix = Path(shutil.which("node")).resolve().parent.parent
    if (prefix / "include/node/node.h").exists():
        env["npm_config_nodedir"] = str(prefix)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=directory, env=env, check=True, stdout=sys.stderr)


def _install_fastapi(directory: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", directory / "venv"], check=True)
    command = [
        directory / "venv/bin/pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        directory / "requirements.txt",
    ]
    subprocess.run(command, check=True, stdout=sys.stderr)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
