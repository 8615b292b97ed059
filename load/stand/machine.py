"""What machine this is, and what processes have cost it so far."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on: the second may have spaces and parentheses of its own."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _descendants(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += parents.get(pid, [])
    return found


class Cpu:
    """User and system time so far of a process with all its threads, of its children, and of those that have ended.

    The difference of two is in seconds.
    """

    def __init__(self, pid: int):
        self.seconds = 0.0
        #: Of each thread there is, to the nanosecond.
        self.threads: dict[str, int] = {}
        for one in _descendants(pid):
            if fields := _stat(one):
                # utime and stime; cutime and cstime are of children that were waited for. Hundredths of a second, rounded
                # down.
                self.seconds += sum(map(int, fields[11:15])) / TICKS_PER_SECOND
            try:
                for thread in os.scandir(f"/proc/{one}/task"):
                    self.threads[thread.name] = int(Path(thread.path, "schedstat").read_text().split()[0])
            except OSError:
                # It has just ended, or the kernel does not tell.
                self.threads["?"] = 0

    def __sub__(self, before: "Cpu") -> float:
        if "?" in self.threads or not before.threads.keys() <= self.threads.keys():
            # What a thread took that has ended since is in the hundredths alone.
            return self.seconds - before.seconds
        return sum(spent - before.threads.get(thread, 0) for thread, spent in self.threads.items()) / 1e9


def memory_kib(pid: int, field: str) -> int:
    """`VmRSS` now or `VmHWM` at most, of one process. 0 if it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def _first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return "not there"
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return (done.stdout.strip().splitlines() or ["says nothing"])[0]


def description(work: Path, postgres: str | None) -> list[tuple[str, str]]:
    """What stands at the head of the results."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    limit = Path("/sys/fs/cgroup/cpu.max")
    return [
        (
            "CPU",
            f"{cpu}, {len(os.sched_getaffinity(0))} cores"
            + (f", cpu.max {limit.read_text().strip()}" if limit.exists() else ""),
        ),
        ("Memory", f"{int(memory.split()[1]) // 1024} MiB"),
        ("Kernel", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("File system", _first_line("stat", "-f", "-c", "%T", str(work))),
        ("Load average before", " ".join(f"{load:.2f}" for load in os.getloadavg())),
        ("Rust", _first_line("rustc", "--version")),
        ("PostgreSQL", postgres or "not there"),
        ("Node", _first_line("node", "--version")),
        ("Python", platform.python_version()),
        ("wrk", " ".join(_first_line("wrk", "--version").split()[:2])),
    ]


def commit(root: Path) -> str:
    """What is measured: the commit, and whether the tree is that commit's."""

    def ask(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout

    try:
        return ask("rev-parse", "--short=12", "HEAD").strip() + (
            ", changed" if ask("status", "--porcelain").strip() else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
