"""One supervisord of ours: where its files lie, starting it, asking it, ending it."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from supervisor.xmlrpc import SupervisorTransport

import limbic
from limbic.runtime.settings import Settings
from limbic.supervision import procfs
from limbic.supervision.processes import ON_FATAL, PROCESSES, WATCHER

ROOT = Path(limbic.__file__).resolve().parent.parent
"""The repository, where supervisord.conf lies and relative paths of the settings begin."""

DRAINS = 2.5
"""The gateway's calls get `drain_s`, then its HTTP requests, then half of it goes to what it still records for turns that have ended."""
STOP_MARGIN_S = 6
"""What a process gets beyond that, to close its files and its model."""

_NAMES = (*(process.name for process in PROCESSES), WATCHER)

# sockaddr_un holds 108 bytes with the closing zero; supervisord first binds PATH.PID and then renames it.
_SOCKET_PATH_BYTES = 107 - len(".4194304")


class SupervisionError(Exception):
    """The processes cannot be started, asked or ended. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What supervisord knows of a process.

    Attributes:
        name: its name in supervisord.conf.
        state: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN.
        pid: its process id; 0 if it does not run.
        description: the state in words, with the uptime or the reason.
    """

    name: str
    state: str
    pid: int
    description: str


class Supervisor:
    """The supervisord of one data directory.

    Args:
        settings: the settings of the processes.
        root: the repository.
    """

    def __init__(self, settings: Settings, root: Path = ROOT) -> None:
        self.settings = settings
        self.root = root
        self.data_dir = (root / settings.runtime.data_dir).resolve()
        self.logs_dir = (root / settings.runtime.logs_dir).resolve()
        self.socket = self.data_dir / "supervisor.sock"
        self._digest_file = self.data_dir / "started-with.sha256"

    @property
    def stop_s(self) -> int:
        """How long supervisord waits for a process to end before it kills it."""
        runtime = self.settings.runtime
        return math.ceil(runtime.lame_duck_s + DRAINS * runtime.drain_s) + STOP_MARGIN_S

    def log_of(self, name: str) -> Path:
        """Return where a process's output goes."""
        return self.logs_dir / f"{name}.log"

    def is_running(self) -> bool:
        """Whether our supervisord answers."""
        if not self.socket.exists():
            return False
        try:
            self._call("getPID")
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def started_with_other_settings(self) -> bool:
        """Whether the settings have changed since it was started."""
        return not self._digest_file.is_file() or self._digest_file.read_text("ascii") != self._settings_digest()

    def start(self) -> None:
        """Start supervisord in the background, and with it the four processes. Returns once it answers.

        Raises:
            SupervisionError: it does not come up.
        """
        self._make_folders()
        # Daemonised it returns as soon as its socket is open.
        # It opens its own log before it sets the umask of supervisord.conf.
        started = subprocess.run(
            self._command(),
            cwd=self.root,
            env=self._environment({name: str(self.log_of(name)) for name in _NAMES}, on_fatal="stay"),
            umask=0o077,
            capture_output=True,
            text=True,
            check=False,
        )
        if started.returncode != 0 or not self.is_running():
            said = (started.stdout + started.stderr).strip()
            raise SupervisionError(f"supervisord does not start: {said or 'see ' + str(self.log_of('supervisord'))}")

    def start_attached(self) -> subprocess.Popen[bytes]:
        """Start supervisord as a child that writes every log to this process's standard output and ends when it gives a process up.

        Raises:
            SupervisionError: the path of its socket is too long.
        """
        self._make_folders()
        return subprocess.Popen(
            # Without a log of its own it still writes to standard output.
            [*self._command(), "--nodaemon", "--logfile", "/dev/null", "--logfile_maxbytes", "0"],
            cwd=self.root,
            env=self._environment(dict.fromkeys(_NAMES, "/dev/fd/1"), on_fatal="end"),
            umask=0o077,
        )

    def processes(self) -> list[ProcessInfo]:
        """Return what supervisord knows of each process, in the order in which they are started."""
        known = {str(info["name"]): info for info in cast(list[dict[str, Any]], self._call("getAllProcessInfo"))}
        return [
            ProcessInfo(p.name, known[p.name]["statename"], known[p.name]["pid"], known[p.name]["description"])
            for p in PROCESSES
        ]

    def start_process(self, name: str) -> None:
        """Start a process that was stopped or given up. Returns at once."""
        self._call("startProcess", name, False)

    def shut_down(self) -> list[procfs.Member]:
        """End the processes in order and supervisord after them; return those that had to be killed.

        Every process may take its own time, one after the other.
        """
        self._call("shutdown")
        procfs.wait_until_gone(self.data_dir, self.stop_s * len(PROCESSES) + STOP_MARGIN_S)
        return procfs.end(self.data_dir, self.stop_s)

    def _make_folders(self) -> None:
        if len(os.fsencode(self.socket)) > _SOCKET_PATH_BYTES:
            raise SupervisionError(
                f"the path {self.socket} is too long for a Unix socket; set LIMBIC_RUNTIME__DATA_DIR to a shorter one"
            )
        for folder in (self.data_dir, self.logs_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._digest_file.touch(mode=0o600)
        self._digest_file.write_text(self._settings_digest(), "ascii")

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.root / "supervisord.conf")]

    def _environment(self, logs: dict[str, str], *, on_fatal: Literal["stay", "end"]) -> dict[str, str]:
        # What is no regular file cannot be rotated.
        rotate = all(not path.startswith("/dev/") for path in logs.values())
        return {
            **os.environ,
            **{f"SUPERVISED_LOG_{name.upper().replace('-', '_')}": path for name, path in logs.items()},
            procfs.MARK: str(self.data_dir),
            ON_FATAL: on_fatal,
            "SUPERVISED_LOGS_DIR": str(self.logs_dir),
            "SUPERVISED_LOG_MAX_BYTES": "10MB" if rotate else "0",
            "SUPERVISED_PYTHON": sys.executable,
            "SUPERVISED_START_RETRIES": str(self.settings.runtime.start_retries),
            "SUPERVISED_STOP_S": str(self.stop_s),
        }

    def _settings_digest(self) -> str:
        # A digest and not the settings: a key may be among them.
        return hashlib.sha256(self.settings.model_dump_json().encode()).hexdigest()

    def _call(self, method: str, *arguments: Any) -> Any:
        # The host stands for nothing: the transport goes to the socket.
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)
