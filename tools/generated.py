"""What is generated from something else and committed: `python -m tools.generated check|write`.

`check` says what is not current: the gRPC stubs, the tables in docs/, the objectives' rules and the dashboards. `write` writes all of it
anew but the stubs, which `make protos` writes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from limbic.runtime.settings import ENV_PREFIX, Settings
from tools.dashboards import dashboards
from tools.errors_table import errors_document
from tools.metrics_table import metrics_document
from tools.objectives import Objectives
from tools.objectives import load as load_objectives
from tools.rules import objectives_yaml

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = ROOT / "docs" / "operations.md"
RUNBOOK = ROOT / "docs" / "runbook.md"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
RULES = ROOT / "deploy" / "prometheus" / "rules" / "objectives.yml"
SETTINGS_MARKS = "<!-- settings: made by `make docs` -->", "<!-- end of settings -->"
OBJECTIVES_MARKS = "<!-- objectives: made by `make docs` -->", "<!-- end of objectives -->"


def generated() -> dict[Path, str]:
    """Return the content that each generated file is to have; of a document that is only partly generated, all of it."""
    objectives = load_objectives()
    return {
        OPERATIONS: document_with_table(OPERATIONS.read_text("utf-8")),
        RUNBOOK: between(RUNBOOK.read_text("utf-8"), OBJECTIVES_MARKS, objectives_table(objectives)),
        ROOT / "docs" / "metrics.md": metrics_document(),
        ROOT / "docs" / "errors.md": errors_document(),
        RULES: objectives_yaml(objectives),
        **{DASHBOARDS / name: content for name, content in dashboards(objectives).items()},
    }


def stale_files() -> list[str]:
    """Return the generated files, below the repository, that are not what they are to be, and dashboards that nothing makes any more."""
    wanted = generated()
    stale = {path for path, content in wanted.items() if not path.exists() or path.read_text("utf-8") != content}
    stale |= {path for path in DASHBOARDS.glob("*.json") if path not in wanted}
    return sorted(str(path.relative_to(ROOT)) for path in stale)


def write_files() -> None:
    """Write every generated file, and remove dashboards that nothing makes any more."""
    wanted = generated()
    for path, content in wanted.items():
        path.write_text(content, "utf-8")
    for path in DASHBOARDS.glob("*.json"):
        if path not in wanted:
            path.unlink()


def stale_stubs(root: Path = ROOT) -> list[str]:
    """Generate the stubs anew elsewhere; return the paths, below the repository, that differ from what is committed."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh_root = Path(scratch)
        subprocess.run([root / "tools" / "generate_protos.sh", fresh_root], check=True)
        fresh = {path.relative_to(fresh_root) for path in fresh_root.rglob("*.py*")}
        packages = {path.parent for path in fresh if path.name != "__init__.py"}
        committed = {path.relative_to(root) for package in packages for path in (root / package).glob("*.py*")}
        changed = {p for p in fresh if (root / p).exists() and (root / p).read_bytes() != (fresh_root / p).read_bytes()}
        missing = {p for p in fresh - committed if not (root / p).exists()}
        return sorted(map(str, changed | missing | (committed - fresh)))


def settings_table() -> str:
    """Return the reference of all settings in Markdown, one table a section, made from the model's own docstrings."""
    parts = []
    for name, field in Settings.model_fields.items():
        model = _model_of(field)
        assert model is not None
        parts.append(f"### `{name}`: {(model.__doc__ or '').strip()}\n")
        parts.append("| variable | default | meaning |\n|---|---|---|")
        parts.extend(_rows(f"{ENV_PREFIX}{name.upper()}", model, field.get_default(call_default_factory=True)))
        parts.append("")
    return "\n".join(parts)


def document_with_table(document: str) -> str:
    """Return the document with the settings table between its two marks."""
    return between(document, SETTINGS_MARKS, settings_table())


def between(document: str, marks: tuple[str, str], content: str) -> str:
    """Return the document with other content between two marks.

    Raises:
        ValueError: it does not hold them.
    """
    begin, end = marks
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the document does not hold the marks {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def objectives_table(objectives: Objectives) -> str:
    """Return the objectives in Markdown."""
    rows = ["| objective | goal | what is promised | alert |\n|---|---|---|---|"]
    rows += [
        f"| {one.title} | {one.goal:%} | {one.says} | [{one.alert}](#{one.alert.lower()}) |" for one in objectives.all
    ]
    return "\n".join(rows) + "\n"


def _rows(prefix: str, model: type[BaseModel], defaults: Any) -> Iterator[str]:
    for key, field in model.model_fields.items():
        variable, default = f"{prefix}__{key.upper()}", getattr(defaults, key)
        if (inner := _model_of(field)) is not None:
            yield from _rows(variable, inner, default)
            continue
        value = str(default).lower() if isinstance(default, bool) else str(default)
        shown = "" if default in (None, "", ()) else f"`{value}`".replace("|", "\\|")
        yield f"| `{variable}` | {shown} | {meaning_of(model, key)} |"


def meaning_of(model: type[BaseModel], key: str) -> str:
    """Return what a setting's docstring says, its own or that of the section that it comes from."""
    for base in model.__mro__:
        if issubclass(base, BaseModel) and (field := base.model_fields.get(key)) and field.description:
            return " ".join(field.description.split())
    return ""


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    if get_origin(field.annotation) is tuple:
        return None  # a list of sections is one setting
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def main(arguments: list[str]) -> int:
    """Run from the command line and return the exit status."""
    match arguments:
        case ["write"]:
            write_files()
            return 0
        case ["check"]:
            problems = [f"{path} is not what protos/ give: run `make protos`" for path in stale_stubs()]
            problems += [f"{path} is not current: run `make docs`" for path in stale_files()]
            for problem in problems:
                print(f"error: {problem}", file=sys.stderr)
            return 1 if problems else 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
