"""Settings: environment over file over default, and nothing that nobody knows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from limbic.runtime.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("LIMBIC_"):
            monkeypatch.delenv(name)


def test_defaults_are_those_of_the_design() -> None:
    settings = load_settings()

    assert settings.gateway.affect_window_ms == 600
    listens = [settings.gateway.listen, settings.state.listen, settings.affect.listen, settings.llm.listen]
    assert listens == [f"127.0.0.1:{port}" for port in (50051, 50052, 50053, 50054)]
    assert settings.gateway.http == "127.0.0.1:8080"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "limbic.toml"
    file.write_text("[gateway]\naffect_window_ms = 100\nmax_turns = 3\n")
    monkeypatch.setenv("LIMBIC_CONFIG", str(file))
    monkeypatch.setenv("LIMBIC_GATEWAY__AFFECT_WINDOW_MS", "200")

    assert (load_settings().gateway.affect_window_ms, load_settings().gateway.max_turns) == (200, 3)


@pytest.mark.parametrize("name", ["LIMBIC_GATEWAY__AFFECT_WINDOW", "LIMBIC_GATEWAI__LISTEN", "LIMBIC_WINDOW"])
def test_an_unknown_variable_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")

    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_an_unknown_nested_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBIC_LLM__UPSTREAM__ULR", "http://127.0.0.1:1/v1")

    with pytest.raises(SettingsError, match=r"llm\.upstream\.ulr"):
        load_settings()


def test_an_unknown_key_of_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "limbic.toml"
    file.write_text("[gateway]\naffect_windwo_ms = 100\n")
    monkeypatch.setenv("LIMBIC_CONFIG", str(file))

    with pytest.raises(SettingsError, match=r"gateway\.affect_windwo_ms"):
        load_settings()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBIC_CONFIG", "/nowhere/limbic.toml")

    with pytest.raises(SettingsError, match=r"/nowhere/limbic\.toml"):
        load_settings()


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "limbic.toml"
    file.write_text("[gateway\n")
    monkeypatch.setenv("LIMBIC_CONFIG", str(file))

    with pytest.raises(SettingsError, match="line 1"):
        load_settings()


@pytest.mark.parametrize("address", ["50051", "localhost:", ":1", "localhost:99999", "unix:"])
def test_an_address_must_be_whole(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBIC_STATE__LISTEN", address)

    with pytest.raises(SettingsError, match=r"state\.listen"):
        load_settings()


def test_a_bad_value_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBIC_GATEWAY__MAX_TURNS", "sk-secret")

    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "sk-secret" not in str(caught.value)


def test_a_key_is_not_shown() -> None:
    settings = Settings.model_validate({"llm": {"upstream": {"api_key": "sk-secret"}}})

    assert "sk-secret" not in repr(settings)


@pytest.mark.parametrize(
    "name", ["LIMBIC_STATE__METRICS", "LIMBIC_STATE__TEMPERAMENTS_DIR", "LIMBIC_STATE__RETENTION_DAYS"]
)
def test_an_empty_variable_says_that_there_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")

    assert getattr(load_settings().state, name.rpartition("__")[2].lower()) is None


def test_an_empty_variable_of_a_setting_that_is_needed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBIC_STATE__LISTEN", "")

    with pytest.raises(SettingsError, match=r"state\.listen: .*must be HOST:PORT or unix:PATH"):
        load_settings()


@pytest.mark.parametrize("address", ["unix:/run/limbic.sock", "127.0.0.1", "127.0.0.1:0", "unix:"])
def test_metrics_are_served_at_a_host_and_a_port_only(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBIC_STATE__METRICS", address)

    with pytest.raises(SettingsError, match=r"state\.metrics: .*must be HOST:PORT"):
        load_settings()
