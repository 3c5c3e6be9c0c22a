"""Makes docs/errors.md: every reason that a caller can be told, from the exception classes, with the advice of error_advice.toml."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from limbic.runtime.errors import InternalError, LimbicError
from tools.discovery import EVERY, PACKAGES, modules_with, process_of

ADVICE = Path(__file__).resolve().parent / "error_advice.toml"

_HEAD = """\
# Errors

Made from the code by `make docs`. A failed call carries a canonical status code, one sentence, and in `google.rpc.ErrorInfo` a reason with
the domain `limbic`. Reasons are stable: programs decide by them and never by the sentence. `BadRequest` names the field where there is one,
`RetryInfo` the delay where a retry can help. Over HTTP the same reason and sentence come as JSON.

"""


def errors_document() -> str:
    """Return docs/errors.md.

    Raises:
        ValueError: a reason has no advice or more than one code, or advice stands there for a reason that nobody gives.
    """
    advice = tomllib.loads(ADVICE.read_text("utf-8"))
    by_reason: dict[str, list[type[LimbicError]]] = defaultdict(list)
    # In whichever order they were imported.
    for leaf in sorted(leaves(), key=lambda leaf: (leaf.__module__, leaf.__qualname__)):
        by_reason[leaf.reason].append(leaf)
    if advice.keys() != by_reason.keys():
        raise ValueError(f"{ADVICE.name} and the code differ in {', '.join(sorted(advice.keys() ^ by_reason.keys()))}")
    rows = ["| reason | code | when | told by | another try | what to do |\n|---|---|---|---|---|---|"]
    for reason, kinds in sorted(by_reason.items()):
        codes = {kind.code.name for kind in kinds}
        if len(codes) > 1:
            raise ValueError(f"{reason} has more than one code: {', '.join(sorted(codes))}")
        processes = sorted({process_of(kind.__module__) for kind in kinds})
        told_by = "all" if EVERY in processes else ", ".join(processes)
        when = " ".join(dict.fromkeys(_meaning(kind) for kind in kinds))
        rows.append(
            f"| `{reason}` | {codes.pop()} | {when} | {told_by} | {advice[reason]['retry']} | {advice[reason]['do']} |"
        )
    return _HEAD + "\n".join(rows) + "\n"


def leaves() -> Iterator[type[LimbicError]]:
    """Yield every class of ours that gives a reason of its own."""
    for _ in modules_with(_gives_a_reason):
        pass  # importing them is what makes their classes known
    yield InternalError  # with the reason of the root
    yield from _below(LimbicError)


def _below(kind: type[LimbicError]) -> Iterator[type[LimbicError]]:
    for child in kind.__subclasses__():
        if "reason" in vars(child) and child.__module__.partition(".")[0] in PACKAGES:
            yield child
        yield from _below(child)


def _meaning(kind: type[LimbicError]) -> str:
    """Return the first sentence of what a class says of itself; the rest is about its arguments."""
    text = " ".join((kind.__doc__ or "").split()).replace("`", "")
    first, dot, _ = text.partition(". ")
    return first + dot.strip()


def _gives_a_reason(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        isinstance(statement, ast.Assign | ast.AnnAssign)
        and isinstance(
            target := statement.targets[0] if isinstance(statement, ast.Assign) else statement.target, ast.Name
        )
        and target.id == "reason"
        and statement.value is not None
        for statement in node.body
    )
