from __future__ import annotations

import configparser
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.service import BACKGROUND_GRACE
from limbic.runtime.settings import Settings
from limbic.supervision import procfs
from limbic.supervision.ports import is_free, taken
from limbic.supervision.processes import PROCESSES, addresses, reachable
from limbic.supervision.supervisor import DRAINS, ROOT, STOP_MARGIN_S, SupervisionError, Supervisor


def supervisord_conf() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(ROOT / "supervisord.conf", "utf-8")
    return parser


def settings(**runtime: object) -> Settings:
    return Settings.model_validate({"runtime": runtime})


def test_supervisord_knows_the_processes_in_their_order() -> None:
    conf = supervisord_conf()
    programs = {name.removeprefix("program:"): conf[name] for name in conf.sections() if name.startswith("program:")}

    assert sorted(programs, key=lambda name: int(programs[name]["priority"])) == [p.name for p in PROCESSES]
    for name, program in programs.items():
        assert program["stdout_logfile"] == f"%(ENV_SUPERVISED_LOG_{name.upper().replace('-', '_')})s"
        assert program["autorestart"] == "true"
        assert int(program["startsecs"]) >= 10
        assert program["stopsignal"] == "TERM"
        assert program["stopwaitsecs"] == "%(ENV_SUPERVISED_STOP_S)s"
        assert program["killasgroup"] == program["stopasgroup"] == "true"


def test_a_process_has_more_time_to_end_than_its_drain_takes() -> None:
    supervisor = Supervisor(settings(drain_s=30.5, lame_duck_s=1.0))

    assert supervisor.stop_s >= 1.0 + DRAINS * 30.5 + STOP_MARGIN_S
    # The longest is the gateway's: its calls, then its HTTP requests, then what it still records.
    assert DRAINS == 1 + 1 + BACKGROUND_GRACE


def test_every_address_is_named_with_its_setting() -> None:
    found = {address.setting: address.value for address in addresses(Settings())}

    assert found["LIMBIC_GATEWAY__HTTP"] == "127.0.0.1:8080"
    assert found["LIMBIC_STATE__METRICS"] == "127.0.0.1:9102"
    assert found["LIMBIC_RUNTIME__SUPERVISION_METRICS"] == "127.0.0.1:9101"
    assert len(found) == 9


@pytest.mark.parametrize(
    ("listen", "found_at"),
    [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:2", "127.0.0.1:2"),
        ("10.0.0.1:3", "10.0.0.1:3"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
    ],
)
def test_a_wildcard_is_no_destination(listen: str, found_at: str) -> None:
    assert reachable(listen) == found_at


def test_a_port_is_taken_while_something_listens_and_free_afterwards() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert not is_free(address)
        gateway = Settings().gateway.model_copy(update={"http": address})
        assert address in [a.value for a in taken(Settings().model_copy(update={"gateway": gateway}))]

    assert is_free(address)


def test_a_socket_path_that_is_too_long_is_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with pytest.raises(SupervisionError, match="LIMBIC_RUNTIME__DATA_DIR"):
        Supervisor(settings(data_dir=folder)).start()

    assert not folder.exists()


def test_only_processes_of_this_data_directory_are_found_and_ended(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    script = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); print('up', flush=True); signal.pause()"

    def start(folder: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, procfs.MARK: str(folder), "SUPERVISOR_PROCESS_NAME": "gateway"}
        process = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    with start(ours) as mine, start(others) as foreign:
        assert procfs.members(ours) == [procfs.Member(mine.pid, "gateway")]
        # Nobody has waited for it yet: a process that has ended must not count as one that lives.
        assert procfs.end(ours, stop_s=10) == [procfs.Member(mine.pid, "gateway")]
        assert procfs.members(ours) == []
        assert foreign.poll() is None
        foreign.terminate()


def test_a_process_that_does_not_listen_to_sigterm_is_killed(tmp_path: Path) -> None:
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    environment = {**os.environ, procfs.MARK: str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        assert [member.name for member in procfs.end(tmp_path, stop_s=0.2)] == ["supervisord"]

    assert deaf.returncode == -9
