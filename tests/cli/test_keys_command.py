"""`limbic keys`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from limbic.cli import app
from limbic.runtime.keys import PREFIX, Limits, Role, digest_of, load_keys

runner = CliRunner()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "keys.jsonl"


def keys(path: Path, *arguments: str, fails: bool = False) -> tuple[str, str]:
    done = runner.invoke(app, ["keys", *arguments, "--file", str(path)])
    assert done.exit_code == (1 if fails else 0), done.output
    return done.stdout, done.stderr


def test_a_key_is_printed_once_alone_and_kept_as_a_hash(path: Path) -> None:
    out, _ = keys(path, "create", "ada")
    secret = out.strip()

    assert secret.startswith(PREFIX)
    assert [key.digest for key in load_keys(path)] == [digest_of(secret)]
    assert path.stat().st_mode & 0o777 == 0o600
    for file in path.parent.iterdir():
        assert secret not in file.read_text("utf-8")
    listed, _ = keys(path, "list")
    assert listed.split()[:2] == ["ada", "user"]
    assert secret not in listed
    assert digest_of(secret).hex() not in listed


def test_what_a_key_may_do_is_as_told(path: Path) -> None:
    keys(
        path,
        "create",
        "op",
        "--operator",
        "--days",
        "0.5",
        "--turns-per-minute",
        "7",
        "--requests-per-minute",
        "8",
        "--sessions",
        "9",
    )
    (key,) = load_keys(path)

    assert (key.role, key.limits) == (Role.OPERATOR, Limits(7, 8, 9))
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).total_seconds() == 43_200


def test_a_key_that_replaces_another_has_its_sessions(path: Path) -> None:
    keys(path, "create", "old")
    (old,) = load_keys(path)
    keys(path, "create", "new", "--replaces", "old")
    (new,) = load_keys(path)

    assert (new.name, new.owner) == ("new", old.owner)
    assert new.digest != old.digest


def test_a_revoked_key_is_gone_and_the_others_stay(path: Path) -> None:
    for name in ("ada", "eve"):
        keys(path, "create", name)
    keys(path, "revoke", "ada")

    assert [key.name for key in load_keys(path)] == ["eve"]


@pytest.mark.parametrize(
    "arguments",
    [("create", "Not A Name"), ("create", "ada"), ("create", "new", "--replaces", "nobody"), ("revoke", "nobody")],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(path: Path, arguments: tuple[str, ...]) -> None:
    keys(path, "create", "ada")
    before = path.read_bytes()

    out, said = keys(path, *arguments, fails=True)

    assert said.startswith("error: ")
    assert not out
    assert path.read_bytes() == before


def test_a_file_that_others_can_read_is_not_used(path: Path) -> None:
    keys(path, "create", "ada")
    path.chmod(0o644)
    for arguments in (("list",), ("create", "eve"), ("revoke", "ada")):
        _, said = keys(path, *arguments, fails=True)
        assert "chmod 600" in said
