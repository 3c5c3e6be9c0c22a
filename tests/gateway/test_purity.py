"""What is pure stays pure: the turn, where a conversation stands, and what a chat completion says know no transport."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gateway

TURN = (
    "turn consent excerpt opening course feeling words reading reply recorder ports events trace merge admission session_places aside "
    "placing"
)
CONTENT = "content tree alignment transcripts"
COMPLETIONS = "messages request sampling response extension"

IMPURE = {"fastapi", "uvicorn", "starlette", "httpx", "sqlite3", "time", "prometheus_client"}


def roots_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in imported}


@pytest.mark.parametrize("module", f"{TURN} {CONTENT}".split())
def test_the_turns_logic_imports_no_transport_no_database_and_no_clock(module: str) -> None:
    assert roots_of(Path(gateway.__file__).parent / f"{module}.py") & (IMPURE | {"grpc"}) == set()


@pytest.mark.parametrize("module", COMPLETIONS.split())
def test_what_a_completion_says_knows_no_http(module: str) -> None:
    assert roots_of(Path(gateway.__file__).parent / "completions" / f"{module}.py") & IMPURE == set()
