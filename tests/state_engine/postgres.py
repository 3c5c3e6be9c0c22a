"""A PostgreSQL server of the tests' own, from Debian's package: in a temporary folder, on a Unix socket, gone with the tests.

Without the package the tests that need it fail, and say so: a journal that nobody has tried is not one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import psycopg

_NUMBERS = count(1)


class PostgresServer:
    """A server that can be stopped as a power cut would, started again, and hold many databases."""

    @staticmethod
    def installed() -> list[Path]:
        """Return the servers that are installed, the newest last."""
        return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))

    def __init__(self) -> None:
        found = self.installed()
        assert found, "PostgreSQL is not installed: sudo apt-get install postgresql"
        self._programs = found[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="limbic-postgres-", dir="/tmp"))
        # The server refuses to run as root; Debian's package brings a user of its own.
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run("initdb", "--pgdata", self.data, "--username", "limbic", "--auth", "trust", "--encoding", "UTF8",
                  "--locale", "C.UTF-8", "--no-sync")  # fmt: skip
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c max_connections=200"
        self._run(
            "pg_ctl", "start", "--wait", "--pgdata", self.data, "--log", self.folder / "log", "--options", options
        )

    def stop(self) -> None:
        """Stop as a crash would: nothing is finished, connections break."""
        self._run("pg_ctl", "stop", "--wait", "--mode", "immediate", "--pgdata", self.data)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"limbic{next(_NUMBERS)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://limbic@/{database}?host={self.folder}"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*self._as, str(self._programs / program), *map(str, arguments)]
        # pg_ctl's child keeps its streams open, so that they may not be pipes.
        with tempfile.TemporaryFile() as output:
            status = subprocess.run(command, stdout=output, stderr=output, cwd="/", check=False).returncode
            output.seek(0)
            assert status == 0, f"{program} failed:\n{output.read().decode(errors='replace')}"
