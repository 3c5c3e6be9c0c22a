"""Finds the modules of ours that define something, by their source, so that nobody has to keep a list of them."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("limbic", "gateway", "services")

PROCESSES = {
    "limbic.supervision": "watcher",
    "gateway": "gateway",
    "services.state_engine": "state-engine",
    "services.affect_head": "affect-head",
    "services.living_llm": "living-llm",
}
"""Which process a package is; a package that is not named here is part of all four."""

EVERY = "all"


def process_of(module: str) -> str:
    """Return the process in which a module runs, or `all`."""
    return next((name for package, name in PROCESSES.items() if f"{module}.".startswith(f"{package}.")), EVERY)


def modules_with(wanted: Callable[[ast.AST], bool]) -> Iterator[ModuleType]:
    """Import and yield every module of ours in whose source some node is wanted."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.stem.endswith(("_pb2", "_pb2_grpc")):
                continue
            if any(map(wanted, ast.walk(ast.parse(path.read_text("utf-8"))))):
                yield importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
