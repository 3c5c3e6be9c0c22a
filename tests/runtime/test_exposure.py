"""Who may listen where, without a credential."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from limbic.runtime.exposure import INSECURE, ExposureError, all_doors, is_local, refuse_open, spoken_in_clear
from limbic.runtime.settings import GatewaySettings, RuntimeSettings, Settings
from limbic.supervision.supervisor import ROOT

EVERYWHERE = "0.0.0.0:15999"

ADDRESSES = [
    ("runtime", "supervision_metrics"),
    *((section, key) for section in ("state", "affect", "llm") for key in ("listen", "metrics")),
    *(("gateway", key) for key in ("listen", "http", "metrics")),
]


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings(**sections)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:80", True),
        ("127.8.8.8:80", True),
        ("[::1]:80", True),
        ("localhost:80", True),
        ("unix:/run/limbic/state", True),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("192.168.1.2:80", False),
        ("[::ffff:192.168.1.2]:80", False),
        ("state-engine:80", False),
        ("localhost.example:80", False),
        ("127.0.0.1.example:80", False),
    ],
)
def test_only_this_machine_is_local(address: str, local: bool) -> None:
    assert is_local(address) is local


def test_nothing_stands_open_by_default() -> None:
    assert refuse_open(all_doors(Settings()), RuntimeSettings()) == []


@pytest.mark.parametrize(("section", "key"), ADDRESSES)
def test_each_address_is_refused_by_name_where_strangers_could_come_in(section: str, key: str) -> None:
    told = settings(**{section: {key: EVERYWHERE}})

    with pytest.raises(ExposureError) as refused:
        refuse_open(all_doors(told), told.runtime)

    variable = f"LIMBIC_{section.upper()}__{key.upper()}"
    assert f"{variable} is {EVERYWHERE}" in str(refused.value)
    assert f"{INSECURE}=true" in str(refused.value)


@pytest.mark.parametrize(("section", "key"), ADDRESSES)
def test_each_address_is_taken_and_warned_of_where_that_was_asked_for(section: str, key: str) -> None:
    told = settings(**{section: {key: EVERYWHERE}})
    allowed = told.runtime.model_copy(update={"allow_insecure": True})

    warnings = refuse_open(all_doors(told), allowed)

    assert len(warnings) == 1
    assert EVERYWHERE in warnings[0]


@pytest.mark.parametrize(("section", "key"), ADDRESSES)
def test_the_gateways_faces_take_keys_and_everything_else_takes_certificates(section: str, key: str) -> None:
    is_face = (section, key) in {("gateway", "listen"), ("gateway", "http")}
    keyed = settings(
        **{section: {key: EVERYWHERE}, "gateway": {key: EVERYWHERE, "keys_file": "k"} if section == "gateway" else {}}
    )
    certified = settings(
        **{section: {key: EVERYWHERE}, "runtime": {"tls_ca": "a", "tls_cert": "c", "tls_key": "k"}}
        | (
            {"runtime": {key: EVERYWHERE, "tls_ca": "a", "tls_cert": "c", "tls_key": "k"}}
            if section == "runtime"
            else {}
        )
    )

    if is_face:
        assert refuse_open(all_doors(keyed), keyed.runtime) == []
        with pytest.raises(ExposureError):
            refuse_open(all_doors(certified), certified.runtime)
    else:
        assert refuse_open(all_doors(certified), certified.runtime) == []


def test_keys_in_clear_are_warned_of() -> None:
    keyed = GatewaySettings(listen="0.0.0.0:1", http="127.0.0.1:2", keys_file=Path("k"))
    shown = keyed.model_copy(update={"tls_cert": Path("c"), "tls_key": Path("k")})

    assert [warning.partition(" ")[0] for warning in spoken_in_clear(keyed)] == ["0.0.0.0:1"]
    assert spoken_in_clear(shown) == []


@pytest.mark.parametrize(
    ("module", "section"),
    [
        ("services.state_engine", "STATE"),
        ("services.affect_head", "AFFECT"),
        ("services.living_llm", "LLM"),
        ("gateway", "GATEWAY"),
    ],
)
def test_each_process_ends_instead(module: str, section: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        f"LIMBIC_{section}__LISTEN": EVERYWHERE,
        "LIMBIC_RUNTIME__DATA_DIR": str(tmp_path / "var"),
        "LIMBIC_RUNTIME__LOGS_DIR": str(tmp_path / "logs"),
        "LIMBIC_STATE__JOURNAL_URL": f"sqlite:///{tmp_path}/journal.sqlite3",
        # Never used: what ends the process comes first.
        "LIMBIC_LLM__UPSTREAM__URL": "http://127.0.0.1:9/v1",
    }
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 1
    assert f"LIMBIC_{section}__LISTEN is {EVERYWHERE}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_everything_under_supervision_is_refused_before_it_starts(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LIMBIC_AFFECT__METRICS": EVERYWHERE,
        "LIMBIC_RUNTIME__DATA_DIR": str(tmp_path / "var"),
    }
    command = [sys.executable, "-m", "limbic.supervision", "run"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    assert done.returncode == 1
    assert f"LIMBIC_AFFECT__METRICS is {EVERYWHERE}" in done.stderr
    assert not (tmp_path / "var").exists()
