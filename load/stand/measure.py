"""How things are measured: the driver for a fixed number of requests, wrk for rate and latency, candidates in turn."""

import json
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable

from .machine import Cpu
from .postgres import Failure
from .servers import Stand, say

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


def drive(stand: Stand, plan: dict, on_line: Callable[[dict], None] | None = None) -> dict:
    """Has the driver carry out a plan, and gives its report. What it says before that goes to `on_line`."""
    process = subprocess.Popen([stand.driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write(json.dumps(plan))
    process.stdin.close()
    line = None
    for text in process.stdout:
        line = json.loads(text)
        if on_line:
            on_line(line)
    if process.wait() or line is None:
        raise Failure("the driver failed")
    return line


def expect(report: dict, *statuses: str) -> dict:
    """Fails if there was another answer: a server that refuses is fast."""
    surprising = {status: count for status, count in report["answers"].items() if status not in (statuses or ("200",))}
    if surprising:
        raise Failure(f"unexpected answers: {surprising}")
    return report


def wrk(address: str, path: str, token: str, seconds: float, connections: int = 32) -> dict:
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--latency",
        "--timeout",
        "30s",
        "-H",
        f"authorization: Bearer {token}",
    ]
    done = subprocess.run([*command, f"http://{address}{path}"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in done or "Socket errors" in done:
        raise Failure(f"wrk saw failures: {done}")
    percentile = {}
    for name in ("50%", "99%"):
        number, unit = re.search(rf"{name}\s+([\d.]+)(\w+)", done).groups()
        percentile[name] = float(number) * UNITS[unit]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done).group(1))
    return {"rate": rate, "p50_us": percentile["50%"], "p99_us": percentile["99%"]}


class Costs:
    """What processes cost between two moments."""

    def __init__(self, **of: Callable[[], Cpu]):
        self.of = of

    def __enter__(self):
        self.before = {name: read() for name, read in self.of.items()}
        self.began = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.began
        self.spent = {name: read() - self.before[name] for name, read in self.of.items()}


def in_turn(rounds: int, candidates: dict[str, Callable[[], dict]]) -> dict[str, dict]:
    """Runs the candidates one after the other, and again, and gives each one's medians."""
    return {name: medians(results) for name, results in rounds_of(rounds, candidates).items()}


def rounds_of(rounds: int, candidates: dict[str, Callable[[], dict]]) -> dict[str, list[dict]]:
    """Runs the candidates one after the other, and again: what else the machine does for a while falls on all of them."""
    taken: dict[str, list[dict]] = {name: [] for name in candidates}
    for turn in range(rounds):
        for name, run in candidates.items():
            result = run()
            taken[name].append(result)
            told = ", ".join(f"{key} {value:,.1f}" for key, value in result.items() if isinstance(value, (int, float)))
            say(f"    round {turn + 1}, {name}: {told}")
    return taken


def medians(results: list[dict]) -> dict:
    keys = {key: None for result in results for key in result}
    return {key: statistics.median([result[key] for result in results if key in result]) for key in keys}


class Watch:
    """Looks at something every so often in the background, for as long as the block runs."""

    def __init__(self, read: Callable[[], dict[str, int]], every: float = 0.25):
        self.read, self.every = read, every
        self.seen: list[tuple[float, dict[str, int]]] = []
        self._over = threading.Event()

    def __enter__(self):
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def _run(self):
        while True:
            self.seen.append((time.monotonic() - self._began, self.read()))
            if self._over.wait(self.every):
                return

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def peak(self, name: str, begin: float = 0, end: float = float("inf")) -> int:
        return max((seen[name] for at, seen in self.seen if begin <= at <= end), default=0)
