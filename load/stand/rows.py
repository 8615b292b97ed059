"""The rows of the table: what is measured, how, and what was to be reached."""

import http.client
import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from . import data, machine
from .measure import Costs, Watch, drive, expect, in_turn, medians, rounds_of, wrk
from .postgres import Failure, free_port
from .servers import ROOT, Running, Server, Signet, Stand, call, clean_environment, fill_baseline, say

MIB = 1024


@dataclass
class Row:
    """A line of the table."""

    name: str
    title: str
    goal: str
    #: By candidate, as text.
    figures: dict[str, str]
    #: Nothing where there is no goal.
    met: bool | None
    notes: list[str] = field(default_factory=list)
    #: For the plot: microseconds of CPU per request by candidate, and the goal.
    plot: dict[str, float] = field(default_factory=dict)
    plot_goal: float | None = None
    #: Everything, as numbers.
    raw: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Effort:
    rounds: int
    #: Requests of a fixed number: of what is fast, and of what is not.
    requests: int
    slow_requests: int
    wrk_seconds: float
    deep_requests: int
    #: Every order that is offered, or one for each key.
    every_order: bool
    logins: int
    storm_seconds: float
    starts: int
    import_rounds: int

    def of_rounds(self, rounds: int) -> "Effort":
        return replace(self, rounds=rounds, import_rounds=min(self.import_rounds, rounds))


QUICK = Effort(2, 20_000, 3_000, 2, 4_000, False, 36, 6, 5, 1)
FULL = Effort(5, 150_000, 8_000, 5, 20_000, True, 120, 20, 15, 3)

ROUNDS_OF_DEPTH = 3

SLOW = ("tutorial", "express", "fastapi")
JUST_IN_TIME = ("tutorial", "express")
SMALL, LARGE = 10_000, 1_000_000
CONNECTIONS = 32
SESSIONS = 8


class Bench:
    """What rows share: the stand, and candidates that stay up from one row to the next."""

    def __init__(self, stand: Stand, effort: Effort):
        self.stand, self.effort = stand, effort
        self._signet: dict[tuple, Signet] = {}
        self._baselines: dict[tuple, Running] = {}
        self._filled: dict[tuple, str] = {}
        self._warm: set[tuple] = set()

    def signet(self, database: str, persons: int = SMALL) -> Signet:
        key = (database, persons)
        if key not in self._signet:
            say(f"  Signet on {database} with {persons:,} persons")
            self._signet[key] = Signet(self.stand, database, persons=persons)
        return self._signet[key]

    def baselines_database(self, database: str, persons: int, cost: int = 4) -> str:
        key = (database, persons, cost)
        if key not in self._filled:
            say(f"  the baselines' {database} with {persons:,} persons")
            self._filled[key] = fill_baseline(self.stand, database, persons, cost)
        return self._filled[key]

    def baselines(self, database: str, persons: int = SMALL, cost: int = 4) -> dict[str, Running]:
        running = {}
        for key, baseline in self.stand.baselines.items():
            if database not in baseline.databases:
                continue
            place = (key, database, persons, cost)
            if place not in self._baselines:
                self._baselines[place] = Running(baseline, self.baselines_database(database, persons, cost))
            running[key] = self._baselines[place]
        return running

    def candidates(self, database: str, persons: int = SMALL) -> dict:
        return {"signet": self.signet(database, persons), **self.baselines(database, persons)}

    def rest(self) -> None:
        """Stops what stayed up: what follows wants the machine, or the memory, for itself."""
        for server in [*self._signet.values(), *self._baselines.values()]:
            server.stop()
        self._signet.clear()
        self._baselines.clear()
        self._warm.clear()

    def database_cpu(self, database: str) -> dict[str, Callable[[], machine.Cpu]]:
        return (
            {"database": lambda: machine.Cpu(self.stand.postgres.process.pid)} if database == "postgres" else {}
        )

    def warm_up(self, key: str, server: Server, what: str) -> int:
        """How many requests go before those that count: at first enough for a just-in-time compiler."""
        place = (server.pid, what)
        if place in self._warm:
            return 1_000
        self._warm.add(place)
        return 15_000 if key in JUST_IN_TIME else 5_000

    def requests_for(self, key: str) -> int:
        return self.effort.slow_requests if key in SLOW else self.effort.requests


def _reading(bench: Bench, key: str, candidate, what: str, path: str, database: str | None) -> dict:
    """CPU of a fixed number of requests, then rate and latency."""
    server, stand = candidate.server_for(what), bench.stand
    requests = bench.requests_for(key)
    plan = {
        "kind": "requests",
        "address": server.address,
        "connections": CONNECTIONS,
        "token": candidate.token,
        "targets": [{"path": path}],
    }
    expect(drive(stand, {**plan, "requests": bench.warm_up(key, server, path)}))
    with Costs(server=server.cpu, **bench.database_cpu(database or "")) as costs:
        expect(drive(stand, {**plan, "requests": requests}))
    result = {f"{name}_us": spent / requests * 1e6 for name, spent in costs.spent.items()}
    return {**result, **wrk(server.address, path, candidate.token, bench.effort.wrk_seconds, CONNECTIONS)}


def _cpu_text(result: dict) -> str:
    text = f"{result['server_us']:.1f} µs"
    if "database_us" in result:
        text += f" and {result['database_us']:.1f} in PostgreSQL"
    if "rate" in result:
        text += f"; {result['rate']:,.0f}/s, p50 {result['p50_us'] / 1000:.2f} ms, p99 {result['p99_us'] / 1000:.2f} ms"
    return text


def _cpu_row(name: str, title: str, goal: str, results: dict[str, dict], met, goal_us: float | None, notes=()) -> Row:
    return Row(
        name,
        title,
        goal,
        {key: _cpu_text(result) for key, result in results.items()},
        met,
        list(notes),
        {key: result["server_us"] for key, result in results.items()},
        goal_us,
        results,
    )


def verify(bench: Bench) -> list[Row]:
    """A benchmark that the crate has itself, and jsonwebtoken on the same token."""
    env = {**clean_environment(), "CARGO_TARGET_DIR": str(bench.stand.target)}
    benches = ROOT / "shared-claims/benches"
    name = "verify" if (benches / "verify.rs").exists() else "revocation"
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "shared-claims", "--features", "feed", "--bench", name]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"cargo bench failed: {done.stderr[-2000:]}")
    nanos = _read_bench(done.stdout, bench.stand.target)
    figures = {"signet": f"{nanos:.0f} ns"}
    raw = {"signet_ns": nanos}
    crates = bench.stand.baselines.get("crates")
    if crates:
        signet = bench.signet("sqlite")
        command = [
            crates.command[0],
            "verify",
            signet.common["SIGNET__TOKENS__SECRET"],
            signet.token,
            "http://127.0.0.1:8080",
            "auth-service",
        ]

        def ask() -> dict:
            return {"ns": float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)}

        raw["crates_ns"] = in_turn(bench.effort.rounds, {"jsonwebtoken": ask})["jsonwebtoken"]["ns"]
        figures["crates"] = f"{raw['crates_ns']:,.0f} ns (jsonwebtoken)"
    notes = [f"`cargo bench -p shared-claims --features feed --bench {name}`."]
    return [
        Row("verify", "verify one HS256 token, one thread", "at most 650 ns", figures, nanos <= 650, notes, raw=raw)
    ]


def _read_bench(output: str, target) -> float:
    """Criterion's estimate of the median, where the benchmark is Criterion's; else the line of the plain one."""
    for estimates in sorted((target / "criterion").glob("**/new/estimates.json")):
        if "verify" in str(estimates) and "hs256" in str(estimates).lower():
            return json.loads(estimates.read_text())["median"]["point_estimate"]
    found = re.search(r"with a list of none\s+([\d.]+) ns", output) or re.search(
        r"verify\S*\s+time:\s+\[\S+ \S+ ([\d.]+) ns", output
    )
    if not found:
        raise Failure(f"no time in what the benchmark printed: {output[-1000:]}")
    return float(found.group(1))


def me(bench: Bench) -> list[Row]:
    candidates = bench.candidates("sqlite")
    if bench.stand.has_postgres() and "tutorial" in bench.stand.baselines:
        candidates["tutorial"] = bench.baselines("postgres")["tutorial"]
    runs = {
        key: lambda key=key, one=one: _reading(bench, key, one, "me", "/auth/me", None)
        for key, one in candidates.items()
    }
    results = in_turn(bench.effort.rounds, runs)
    cpu = results["signet"]["server_us"]
    return [_cpu_row("me", "`/auth/me`, server CPU per request", "at most 9 µs", results, cpu <= 9, 9)]


def _refresh(bench: Bench, database: str) -> dict[str, dict]:
    candidates = bench.candidates(database)
    sessions: dict[str, list[str]] = {}

    def run(key: str) -> dict:
        candidate = candidates[key]
        server = candidate.server_for("refresh")
        if key not in sessions:
            sessions[key] = [candidate.log_in()["refresh_token"] for _ in range(SESSIONS)]
        requests = bench.requests_for(key) // 4

        def go(count: int) -> dict:
            report = drive(
                bench.stand,
                {"kind": "refresh", "address": server.address, "sessions": sessions[key], "requests": count},
            )
            sessions[key] = report["sessions"]
            return expect(report)

        go(bench.warm_up(key, server, "refresh"))
        with Costs(server=server.cpu, **bench.database_cpu(database)) as costs:
            report = go(requests)
        result = {f"{name}_us": spent / requests * 1e6 for name, spent in costs.spent.items()}
        return {
            **result,
            "rate": requests / report["seconds"],
            "p50_us": report["times"]["p50_us"],
            "p99_us": report["times"]["p99_us"],
        }

    return in_turn(bench.effort.rounds, {key: lambda key=key: run(key) for key in candidates})


NO_ROTATION = (
    f"{SESSIONS} clients, each with a session of its own. The baselines look the token up and do not rotate it."
)


def refresh_postgres(bench: Bench) -> list[Row]:
    results = _refresh(bench, "postgres")
    title = "refresh with rotation, PostgreSQL, server CPU"
    met = results["signet"]["server_us"] <= 60
    return [_cpu_row("refresh-postgres", title, "at most 60 µs in auth-service", results, met, 60, [NO_ROTATION])]


def refresh_sqlite(bench: Bench) -> list[Row]:
    results = _refresh(bench, "sqlite")
    return [
        _cpu_row(
            "refresh-sqlite",
            "refresh with rotation, SQLite, server CPU",
            "none set",
            results,
            None,
            None,
            [NO_ROTATION],
        )
    ]


def _page(bench: Bench, database: str) -> dict[str, dict]:
    runs = {
        key: lambda key=key, one=one: _reading(bench, key, one, "page", "/persons?limit=20", database)
        for key, one in bench.candidates(database).items()
    }
    return in_turn(bench.effort.rounds, runs)


def page_postgres(bench: Bench) -> list[Row]:
    results = _page(bench, "postgres")
    signet = results["signet"]
    met = signet["server_us"] <= 30 and signet["database_us"] <= 30
    title = "page of 20 of 10,000, PostgreSQL, server CPU"
    return [_cpu_row("page-postgres", title, "at most 30 µs, and 30 in PostgreSQL", results, met, 30)]


def page_sqlite(bench: Bench) -> list[Row]:
    results = _page(bench, "sqlite")
    met = results["signet"]["server_us"] <= 38
    return [_cpu_row("page-sqlite", "page of 20 of 10,000, SQLite, server CPU", "at most 38 µs", results, met, 38)]


def _lists(every_order: bool) -> list[str]:
    orders = ["sort=id", "sort=name", "sort=age", "sort=created_at"]
    if every_order:
        orders += ["sort=-id", "sort=-name", "sort=-age", "sort=-created_at"]
    return [
        *orders,
        "sort=age&min_age=10",
        "sort=id&min_age=10&max_age=95",
        "sort=id&q=example",
        "sort=-name&q=example&min_age=1",
    ]


def _cursor_at(address: str, token: str, query: str, row: int) -> str:
    """Where a list goes on after so many rows, page by page as a client gets there."""
    connection = http.client.HTTPConnection(address, timeout=120)
    cursor, at = None, 0
    while at < row:
        step = min(200, row - at)
        path = f"/persons?limit={step}&{query}" + (f"&cursor={quote(cursor)}" if cursor else "")
        connection.request("GET", path, headers={"authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise Failure(f"{path}: {response.status} {body[:300]}")
        cursor = json.loads(body)["next_cursor"]
        if cursor is None:
            raise Failure(f"{query} has fewer than {row} rows")
        at += step
    connection.close()
    return cursor


def _deep(bench: Bench, database: str) -> list[Row]:
    effort, signet = bench.effort, bench.signet(database, LARGE)
    server = signet.server_for("page")
    raw, worst, lines = {}, ("", 0.0), []

    def cost(one, server: Server, path: str, requests: int) -> dict:
        plan = {
            "kind": "requests",
            "address": server.address,
            "connections": 8,
            "token": one.token,
            "targets": [{"path": path}],
        }
        expect(drive(bench.stand, {**plan, "requests": max(requests // 10, 8)}))
        with Costs(server=server.cpu, **bench.database_cpu(database)) as costs:
            report = expect(drive(bench.stand, {**plan, "requests": requests}))
        result = {f"{name}_us": spent / requests * 1e6 for name, spent in costs.spent.items()}
        return {**result, "all_us": sum(result.values()), "p50_us": report["times"]["p50_us"]}

    requests = effort.deep_requests // ROUNDS_OF_DEPTH

    for query in _lists(effort.every_order):
        cursor = _cursor_at(server.address, signet.token, query, LARGE // 2)
        first = f"/persons?limit=20&{query}"
        runs = {
            "first": lambda: cost(signet, server, first, requests),
            "deep": lambda: cost(signet, server, f"{first}&cursor={quote(cursor)}", requests),
        }
        # Many short rounds: the two that are compared follow each other so closely that they see the same machine.
        taken = rounds_of(max(effort.rounds, 3) * ROUNDS_OF_DEPTH, runs)
        results = {name: medians(rounds) for name, rounds in taken.items()}
        ratio = statistics.median(
            deep["all_us"] / first["all_us"] for first, deep in zip(taken["first"], taken["deep"], strict=True)
        )
        raw[query] = {**results, "ratio": ratio}
        lines.append(
            f"{query}: {results['first']['all_us']:.1f} µs, then {results['deep']['all_us']:.1f} ({ratio:.2f} times)"
        )
        if ratio > worst[1]:
            worst = (query, ratio)

    figures = {"signet": f"{worst[1]:.2f} times at worst (`{worst[0]}`)"}
    after = {"tutorial": f"offset={LARGE // 2}", "crates": f"cursor=P{LARGE // 2:07}"}
    # P0500000 in base64url, as the other baselines write their cursors.
    for key, one in bench.baselines(database, LARGE).items():
        where = after.get(key, "cursor=UDA1MDAwMDA=" if key == "fastapi" else "cursor=UDA1MDAwMDA")
        paths = {"first": "/persons?limit=20", "deep": f"/persons?limit=20&{where}"}
        count = 100 if key == "tutorial" else effort.slow_requests // 5
        results = in_turn(
            2, {name: lambda path=path: cost(one, one.server, path, count) for name, path in paths.items()}
        )
        ratio = results["deep"]["all_us"] / results["first"]["all_us"]
        raw[key] = {**results, "ratio": ratio}
        figures[key] = f"{ratio:.2f} times, by id alone ({results['deep']['all_us']:,.0f} µs)"
    title = f"page at row 500,000 of 1,000,000, {'PostgreSQL' if database == 'postgres' else 'SQLite'}, CPU in all"
    notes = ["CPU of the service and of PostgreSQL, at the first page and at row 500,000: " + "; ".join(lines) + "."]
    return [
        Row(
            f"deep-{database}",
            title,
            "within 1.2 times the first page, whatever the key",
            figures,
            worst[1] <= 1.2,
            notes,
            raw=raw,
        )
    ]


def deep_postgres(bench: Bench) -> list[Row]:
    return _deep(bench, "postgres")


def deep_sqlite(bench: Bench) -> list[Row]:
    return _deep(bench, "sqlite")


def hashes(bench: Bench) -> list[Row]:
    bench.rest()
    env = {**clean_environment(), "CARGO_TARGET_DIR": str(bench.stand.target)}
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "bcrypt-lanes", "--", "10"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    found = re.findall(r"(\d+) side by side\s+([\d.]+)\s+([\d.]+) times as many", done.stdout)
    alone = re.search(r"the bcrypt crate\s+([\d.]+)", done.stdout)
    if done.returncode or not found or not alone:
        raise Failure(f"cargo bench failed: {done.stdout} {done.stderr[-2000:]}")
    lanes, milliseconds, times = found[-1]
    figures = {
        "crates": f"1 ({alone.group(1)} ms a hash)",
        "signet": f"{times} times ({milliseconds} ms, {lanes} side by side)",
    }
    title = "hashes per second and core at equal cost (10)"
    raw = {"alone_ms": float(alone.group(1)), "lanes_ms": float(milliseconds), "times": float(times)}
    return [
        Row(
            "hash",
            title,
            "at least 3.2 times the bcrypt crate",
            figures,
            float(times) >= 3.2,
            ["`cargo bench -p bcrypt-lanes`."],
            raw=raw,
        )
    ]


def logins(bench: Bench) -> list[Row]:
    """Through HTTP, the CPU of everything that a log-in passes through."""
    bench.rest()
    cost, users = 10, 200
    candidates: dict = {"signet": Signet(bench.stand, "sqlite", users=users, cost=cost, SIGNET__PASSWORDS__PERMITS="1")}
    candidates |= bench.baselines("sqlite", SMALL, cost)

    def run(key: str) -> dict:
        one, count = candidates[key], bench.effort.logins
        targets = [
            {
                "method": "POST",
                "path": "/auth/login",
                "body": json.dumps({"email": data.email(number), "password": data.PASSWORD}),
            }
            for number in range(users)
        ]
        plan = {
            "kind": "requests",
            "address": one.auth,
            "connections": 18,
            "targets": targets,
            "requests": count,
            "forwarded": True,
        }
        with Costs(**{name: server.cpu for name, server in one.servers.items()}) as costs:
            report = expect(drive(bench.stand, plan))
        return {
            "cpu_ms": sum(costs.spent.values()) / count * 1e3,
            "rate": count / report["seconds"],
            "p50_us": report["times"]["p50_us"],
        }

    results = in_turn(bench.effort.rounds, {key: lambda key=key: run(key) for key in candidates})
    candidates["signet"].stop()
    bench.rest()
    per_core = {key: 1000 / result["cpu_ms"] for key, result in results.items()}
    figures = {key: f"{per_core[key]:.1f} per second of CPU; {result['rate']:.1f}/s" for key, result in results.items()}
    met, notes = (
        None,
        [f"18 clients, cost {cost}; Signet with one hashing thread, the others with as many as they take."],
    )
    if "crates" in per_core:
        times = per_core["signet"] / per_core["crates"]
        figures["signet"] += f" ({times:.2f} times the bcrypt crate)"
        met = times >= 3.2
    return [
        Row(
            "login",
            "log-ins through HTTP at equal cost, per core",
            "at least 3.2 times the bcrypt crate",
            figures,
            met,
            notes,
            raw=results,
        )
    ]


def storm(bench: Bench) -> list[Row]:
    bench.rest()
    database = "postgres" if bench.stand.has_postgres() else "sqlite"
    cost, users, effort = 12, 400, bench.effort
    names = ["signet", *(key for key, baseline in bench.stand.baselines.items() if database in baseline.databases)]
    results = {}
    for key in names:
        # One at a time: a queue that is not bounded is still being worked off long after.
        if key == "signet":
            one = Signet(bench.stand, database, persons=SMALL, users=users, cost=cost, workers=0)
        else:
            one = Running(bench.stand.baselines[key], bench.baselines_database(database, SMALL, cost))
        reads = {
            "address": one.resource,
            "path": "/persons?limit=20",
            "token": one.token,
            "connections": 8,
            "rate": 400,
        }
        emails = [data.email(number) for number in range(users)]
        sent = {"address": one.auth, "emails": emails, "password": data.PASSWORD, "rate": 200, "outstanding": 100}
        sent |= {"at_once_ms": 100, "forwarded": key == "signet"}
        plan = {
            "kind": "storm",
            "logins": sent,
            "reads": reads,
            "quiet_seconds": 3,
            "storm_seconds": effort.storm_seconds,
            "calm_seconds": 2,
        }
        report = drive(bench.stand, plan)
        one.stop()
        results[key] = {
            "quiet_p99_us": report["quiet"]["times"]["p99_us"],
            "p99_us": report["during"]["times"]["p99_us"],
            "reads": report["during"]["times"]["count"],
            "logins": report["logins"]["taken_during"] / effort.storm_seconds,
            "report": report,
        }
        say(
            f"    {key}: p99 {results[key]['p99_us'] / 1000:.1f} ms, quiet {results[key]['quiet_p99_us'] / 1000:.1f}, "
            f"{results[key]['logins']:.1f} log-ins/s"
        )
    figures = {
        key: f"{result['p99_us'] / 1000:,.1f} ms (quiet {result['quiet_p99_us'] / 1000:.1f}), {result['logins']:.1f} log-ins/s"
        for key, result in results.items()
    }
    signet = results["signet"]
    met = signet["p99_us"] <= 2000 and signet["logins"] >= 18
    answers = ", ".join(f"{status}: {count}" for status, count in signet["report"]["logins"]["answers"].items())
    notes = [
        f"{database}, cost 12, 400 reads a second and 200 log-ins a second for {effort.storm_seconds:g} s, no more than "
        "100 of them waiting at once;"
        f" Signet answered {answers}."
    ]
    title = "`/persons` p99 in a storm of log-ins, and log-ins per second meanwhile"
    return [Row("storm", title, "at most 2 ms, at least 18 log-ins", figures, met, notes, raw=results)]


def memory(bench: Bench) -> list[Row]:
    bench.rest()
    idle: dict[str, dict[str, float]] = {}
    own: dict[str, dict[str, float]] = {}
    first: dict[str, float] = {}
    peak: dict[str, dict[str, float]] = {}
    databases = ["sqlite", *(["postgres"] if bench.stand.has_postgres() else [])]
    for database in databases:
        candidates = {"signet": lambda: Signet(bench.stand, database, workers=0)}
        if database == "sqlite" or "sqlite" not in databases:
            for key, baseline in bench.stand.baselines.items():
                if database in baseline.databases:
                    url = bench.baselines_database(database, SMALL)
                    candidates[key] = lambda baseline=baseline, url=url: Running(baseline, url)
        for key, begin in candidates.items():
            one = begin()
            time.sleep(2)
            place = f"{key} {database}"
            if key == "signet":
                first[database] = one.servers["user"].rss() / MIB
                # What fills the databases is not what is measured, so other processes answer afterwards.
                one.load_persons(bench.stand.persons_file(SMALL))
                for name in ("user", "resource"):
                    address = one.servers[name].address
                    one.servers[name].stop()
                    one.servers[name] = one.launch(name, int(address.rsplit(":", 1)[1]))
                time.sleep(2)
            idle[place] = {name: server.rss() / MIB for name, server in one.servers.items()}
            own[place] = {name: server.anonymous() / MIB for name, server in one.servers.items()}
            for what, path in (
                ("me", "/auth/me"),
                ("page", "/persons?limit=20"),
                ("page", "/persons?limit=200&sort=-age"),
            ):
                wrk(one.server_for(what).address, path, one.token, bench.effort.wrk_seconds, 64)
            tokens = [one.log_in()["refresh_token"] for _ in range(32)]
            expect(
                drive(
                    bench.stand,
                    {
                        "kind": "refresh",
                        "address": one.auth,
                        "sessions": tokens,
                        "requests": bench.effort.slow_requests,
                    },
                )
            )
            peak[place] = {name: server.peak() / MIB for name, server in one.servers.items()}
            one.stop()
            say(f"    {place}: idle {idle[place]}, at most {peak[place]}")
    figures: dict[str, list[str]] = {}
    for place in idle:
        key, database = place.split()
        text = f"{max(idle[place].values()):.1f}, {max(peak[place].values()):.1f} MiB"
        figures.setdefault(key, []).append(f"{text} ({database})" if key == "signet" else text)
    ours = [place for place in idle if place.startswith("signet ")]
    met = all(max(idle[place].values()) <= 15 and max(peak[place].values()) <= 25 for place in ours)
    told = "; ".join(
        f"{place}: " + ", ".join(f"{name} {idle[place][name]:.1f} ({own[place][name]:.1f}) and {peak[place][name]:.1f}" for name in idle[place])
        for place in ours
    )
    judged = " and ".join(f"{size:.1f} ({database})" for database, size in first.items())
    notes = [
        "VmRSS idle and VmHWM under load of the largest of the services. 64 connections; hashing at cost 4. In brackets"
        f" what is the process's own (RssAnon), the rest being pages of the program's file: {told}.",
        f"A user-service that has judged new passwords keeps the word lists for that: {judged} MiB idle.",
    ]
    raw = {"idle_mib": idle, "own_mib": own, "peak_mib": peak, "judged_mib": first}
    joined = {key: "; ".join(texts) for key, texts in figures.items()}
    return [
        Row("memory", "memory of a service, idle and under load", "at most 15 and 25 MiB", joined, met, notes, raw=raw)
    ]


def start(bench: Bench) -> list[Row]:
    bench.rest()
    signet = Signet(bench.stand, "sqlite", persons=SMALL)
    signet.servers["resource"].stop()
    launches = {"signet": (lambda: signet.launch("resource", free_port(), ready=""), signet.token)}
    for key, baseline in bench.stand.baselines.items():
        if "sqlite" in baseline.databases:
            url = bench.baselines_database("sqlite", SMALL)
            one = Running(baseline, url)
            token = one.token
            one.stop()
            launches[key] = (lambda baseline=baseline, url=url: baseline.launch(url, ready=""), token)

    def run(key: str) -> dict:
        launch, token = launches[key]
        server = launch()
        while True:
            try:
                if (
                    call(
                        server.address,
                        "GET",
                        "/persons?limit=20",
                        headers={"authorization": f"Bearer {token}"},
                        timeout=5,
                    )[0]
                    == 200
                ):
                    break
            except OSError:
                time.sleep(0.0005)
            if time.monotonic() - server.began > 30:
                raise Failure(f"{key} does not answer")
        took = time.monotonic() - server.began
        server.stop()
        return {"ms": took * 1000}

    results = in_turn(bench.effort.starts, {key: lambda key=key: run(key) for key in launches})
    signet.stop()
    figures = {key: f"{result['ms']:.0f} ms" for key, result in results.items()}
    met = results["signet"]["ms"] <= 30
    notes = ["resource-service on a file of 10,000 persons, with auth-service running; the schema is there."]
    return [
        Row("start", "from exec to the first page served, SQLite", "at most 30 ms", figures, met, notes, raw=results)
    ]


STAGING_AND_MERGE = r"""
CREATE TEMPORARY TABLE staging (id TEXT COLLATE "C", name TEXT, email TEXT, age INTEGER);
\copy staging FROM '{file}' (FORMAT csv, HEADER)
INSERT INTO control.persons (id, name, email, age, search_text, created_at, updated_at, version)
SELECT id, name, email, age, lower(name || ' ' || coalesce(email, '')), 1, 1, 1 FROM staging ORDER BY id
ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, age = excluded.age,
    search_text = excluded.search_text, updated_at = excluded.updated_at, version = persons.version + 1
WHERE persons.name <> excluded.name OR persons.email IS DISTINCT FROM excluded.email
    OR persons.age IS DISTINCT FROM excluded.age;
"""


def import_postgres(bench: Bench) -> list[Row]:
    bench.rest()
    signet, postgres = Signet(bench.stand, "postgres"), bench.stand.postgres
    database = signet.urls["resource"].rpartition("/")[2]
    postgres.run(
        "CREATE SCHEMA control;", "CREATE TABLE control.persons (LIKE public.persons INCLUDING ALL);", database=database
    )
    resource = signet.servers["resource"]
    new, changed = bench.stand.persons_file(LARGE), bench.stand.persons_file(LARGE, older_by=1)
    watches = []

    def ours(file) -> dict:
        postgres.run("CHECKPOINT;")
        with Watch(lambda: {"kib": resource.rss()}, 0.1) as watch, Costs(server=resource.cpu) as costs:
            seconds = signet.load_persons(file)
        watches.append(watch)
        return {"seconds": seconds, "cpu": costs.spent["server"]}

    def theirs(file) -> dict:
        postgres.run("CHECKPOINT;")
        begin = time.monotonic()
        postgres.run(STAGING_AND_MERGE.format(file=file), database=database)
        return {"seconds": time.monotonic() - begin}

    def empty() -> dict:
        postgres.run("TRUNCATE public.persons, control.persons;", database=database)
        return {}

    turns = {
        "empty": empty,
        "Signet, new": lambda: ours(new),
        "PostgreSQL, new": lambda: theirs(new),
        "Signet, changed": lambda: ours(changed),
        "PostgreSQL, changed": lambda: theirs(changed),
    }
    results = in_turn(bench.effort.import_rounds, turns)
    same = postgres.run(
        "SELECT count(*) FROM (SELECT id, name, email, age FROM public.persons "
        "EXCEPT SELECT id, name, email, age FROM control.persons) d;",
        database=database,
    )
    if same != "0":
        raise Failure(f"the two tables differ in {same} rows")
    before, peak = watches[0].seen[0][1]["kib"] / MIB, max(watch.peak("kib") for watch in watches) / MIB
    signet.stop()
    ratios = {
        kind: results[f"Signet, {kind}"]["seconds"] / results[f"PostgreSQL, {kind}"]["seconds"]
        for kind in ("new", "changed")
    }
    rate = LARGE / results["Signet, new"]["seconds"]
    figures = {
        "psql": f"{results['PostgreSQL, new']['seconds']:.1f} s new, {results['PostgreSQL, changed']['seconds']:.1f} s changed",
        "signet": f"{results['Signet, new']['seconds']:.1f} s new ({ratios['new']:.2f} times, {rate:,.0f} rows/s), "
        f"{results['Signet, changed']['seconds']:.1f} s changed ({ratios['changed']:.2f} times); "
        f"{before:.0f} MiB, at most {peak:.0f}",
    }
    notes = [
        "Both through the same indexes, into an empty table and then with every age changed; beside it stands `\\copy` "
        "into a staging table and one merge by psql."
    ]
    raw = {**results, "ratios": ratios, "rss_before_mib": before, "rss_peak_mib": peak}
    title = "import of 1,000,000 persons (CSV, upsert), PostgreSQL"
    goal = "within 1.3 times PostgreSQL's own COPY and merge, memory flat"
    return [
        Row(
            "import-postgres", title, goal, figures, max(ratios.values()) <= 1.3 and peak <= before + 32, notes, raw=raw
        )
    ]


def import_sqlite(bench: Bench) -> list[Row]:
    bench.rest()
    signet = Signet(bench.stand, "sqlite")
    new, changed = bench.stand.persons_file(LARGE), bench.stand.persons_file(LARGE, older_by=1)
    watches = []

    def run() -> dict:
        path = signet.directory / f"{bench.stand.name('import')}.db"
        server = signet.launch("resource", free_port(), url=f"sqlite:{path}")
        with Watch(lambda: {"kib": server.rss()}, 0.1) as watch:
            seconds = signet.load_persons(new, server.address)
            again = signet.load_persons(changed, server.address)
        watches.append(watch)
        server.stop()
        for file in signet.directory.glob(path.name + "*"):
            file.unlink()
        return {"rows_per_second": LARGE / seconds, "changed_per_second": LARGE / again}

    result = in_turn(bench.effort.import_rounds, {"signet": run})["signet"]
    before, peak = watches[0].seen[0][1]["kib"] / MIB, max(watch.peak("kib") for watch in watches) / MIB
    signet.stop()
    figures = {
        "signet": f"{result['rows_per_second']:,.0f} rows/s new, {result['changed_per_second']:,.0f} changed; "
        f"{before:.0f} MiB, at most {peak:.0f}"
    }
    met = result["rows_per_second"] >= 300_000 and peak <= before + 48
    notes = [
        "Memory counts as flat within 48 MiB of what it was: an import holds three batches of 20,000 lines and a page cache of 16 MiB."
    ]
    raw = {**result, "rss_before_mib": before, "rss_peak_mib": peak}
    title = "import of 1,000,000 persons, SQLite"
    return [Row("import-sqlite", title, "at least 300,000 rows/s, memory flat", figures, met, notes, raw=raw)]


#: In the order in which they run: those that share candidates stand together.
ROWS: dict[str, Callable[[Bench], list[Row]]] = {
    "verify": verify,
    "me": me,
    "refresh-sqlite": refresh_sqlite,
    "page-sqlite": page_sqlite,
    "refresh-postgres": refresh_postgres,
    "page-postgres": page_postgres,
    "deep-postgres": deep_postgres,
    "deep-sqlite": deep_sqlite,
    "hash": hashes,
    "login": logins,
    "storm": storm,
    "memory": memory,
    "start": start,
    "import-postgres": import_postgres,
    "import-sqlite": import_sqlite,
}

#: In the order in which they are told.
TOLD = [
    "verify",
    "me",
    "refresh-postgres",
    "refresh-sqlite",
    "page-postgres",
    "page-sqlite",
    "deep-postgres",
    "deep-sqlite",
]
TOLD += ["hash", "login", "storm", "memory", "start", "import-postgres", "import-sqlite"]

NEEDS_POSTGRES = {"refresh-postgres", "page-postgres", "deep-postgres", "import-postgres"}
