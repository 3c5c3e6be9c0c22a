from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from limbic.cli import app
from limbic.runtime.settings import ServerSettings, StateSettings
from tools.generated import OPERATIONS, ROOT, document_with_table, meaning_of, settings_table

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
WRITTEN = sorted(
    path
    for folder in ("limbic", "services", "gateway", "training", "benchmarks", "tools", "tests", "protos", "docs", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file()
    and "__pycache__" not in path.parts
    and path.suffix in {"", ".py", ".md", ".proto", ".toml", ".sql", ".sh", ".txt"}
) + [
    ROOT / name
    for name in ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "supervisord.conf", "constraints.txt")
]

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def code_of(document: str) -> str:
    """Return what stands in code blocks and between backquotes."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", document, re.DOTALL))


@each_document
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", code_of(path.read_text("utf-8"))))

    assert named <= targets()


@each_document
def test_every_command_of_ours_that_is_named_exists(path: Path) -> None:
    known = set(typer.main.get_group(app).commands)
    named = set(re.findall(r"\blimbic (chat|doctor|[a-z]+)\b", code_of(path.read_text("utf-8"))))

    assert named <= known


@each_document
def test_every_module_that_is_named_can_be_run(path: Path) -> None:
    named = set(
        re.findall(
            r"python3? -m ((?:limbic|services|gateway|training|benchmarks|tools)[\w.]*)", path.read_text("utf-8")
        )
    )
    missing = [
        name
        for name in named
        if not (ROOT / name.replace(".", "/") / "__main__.py").is_file()
        and not (ROOT / f"{name.replace('.', '/')}.py").is_file()
    ]

    assert not missing


@each_document
def test_every_link_within_the_repository_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text("utf-8"))

    assert not [link for link in links if not (path.parent / link).exists()]


@each_document
def test_every_setting_that_is_named_exists(path: Path) -> None:
    known = set(re.findall(r"`(LIMBIC_\w+)`", settings_table())) | {"LIMBIC_CONFIG"}
    named = set(re.findall(r"\b(LIMBIC_[A-Z0-9_]*[A-Z0-9])\b(?!<|__<)", path.read_text("utf-8")))

    assert named <= known


def test_the_settings_table_is_current() -> None:
    document = OPERATIONS.read_text("utf-8")

    assert document_with_table(document) == document


def test_every_setting_says_what_it_means() -> None:
    silent = [
        row.split("|")[1].strip()
        for row in settings_table().splitlines()
        if row.startswith("| `") and row.endswith("|  |")
    ]

    assert not silent


def test_a_setting_without_words_of_its_own_has_those_of_its_section() -> None:
    assert meaning_of(StateSettings, "listen") == ServerSettings.model_fields["listen"].description


def test_every_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    explained = set(re.findall(r"^([a-z]+):.* ## \S", makefile, re.MULTILINE))

    assert explained == targets()


def test_no_file_knows_the_machine_that_it_was_written_on() -> None:
    """Paths of a home, hosts and package indexes are somebody's own; a file with them works there and nowhere else."""
    own = re.compile(r"/(?:home|root|Users)/\w|index-url|extra-index|find-links|/opt/")
    here = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in WRITTEN
        if path != here
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if own.search(line)
    ]

    assert not found
