"""A PostgreSQL server for the stand alone, with the settings of one that serves something."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 512MB
max_wal_size = 4GB
checkpoint_timeout = 15min
"""


class Failure(Exception):
    """Something that a person has to read."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def programs() -> Path | None:
    """Where initdb is. Debian keeps it out of the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: -int(place.parent.name))
    if found := shutil.which("initdb"):
        places.append(Path(found).parent)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


class Postgres:
    """A running server. It trusts whoever connects from this machine."""

    def __init__(self, directory: Path):
        bin_dir = programs()
        if not bin_dir:
            raise Failure("PostgreSQL's programs are not on this machine: install the package postgresql")
        self.directory = directory
        self.version = subprocess.run(
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
        # PostgreSQL refuses to run as root.
        self.owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        directory.mkdir(parents=True)
        if self.owner:
            entry = pwd.getpwnam("postgres")
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        data = directory / "data"
        command = [
            bin_dir / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", **self.owner)
        if done.returncode:
            raise Failure(f"initdb failed: {done.stderr}")
        self.port = free_port()
        conf = data / "postgresql.conf"
        conf.write_text(conf.read_text() + SETTINGS + f"port = {self.port}\n")
        self.log = open(directory.parent / "postgres.log", "wb")
        self.process = subprocess.Popen(
            [bin_dir / "postgres", "-D", data],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd="/",
            **self.owner,
        )
        for _ in range(600):
            try:
                self.run("SELECT 1")
                return
            except Failure:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        self.stop()
        raise Failure("PostgreSQL does not start: " + (directory.parent / "postgres.log").read_text()[-2000:])

    def url(self, database: str = "postgres") -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, *commands: str, database: str = "postgres", timing: bool = False) -> str:
        """Runs SQL, and psql's own commands, and gives what they print."""
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database)]
        done = subprocess.run(command, input="\n".join(commands) + "\n", capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def create(self, database: str) -> str:
        self.run(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def stop(self) -> None:
        # SIGQUIT: what is in it is thrown away anyway.
        if self.process.poll() is None:
            self.process.send_signal(3)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
