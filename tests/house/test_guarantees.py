"""What docs/guarantees.md promises is shown by tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from limbic.supervision.supervisor import ROOT

REFERENCES = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "guarantees.md").read_text("utf-8"))


def test_there_are_promises() -> None:
    assert len(REFERENCES) > 30


@pytest.mark.parametrize(("path", "name"), REFERENCES)
def test_a_promise_names_a_test_that_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text("utf-8"))

    if not name:
        # All of the file, whose tests may be a state machine of Hypothesis'.
        assert "test_" in path
        return
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions
