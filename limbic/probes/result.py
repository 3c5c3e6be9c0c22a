"""What a suite found, as one JSON file: the figures, the gates, what was running, and the misses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from limbic.probes.errors import ResultError
from limbic.probes.gates import Gate, Verdict

SCHEMA = 1
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Running:
    """What was running. What could not be found out is empty.

    Attributes:
        limbic: our version.
        head: its id.
        head_quantization: of its weights.
        head_calibration: version of its calibration.
        head_sha256: of its file.
        temperament: its name.
        temperament_digest: SHA-256 over its content.
        upstream: what spoke; empty in the suites in which nothing does.
        model: the model's name.
        model_sha256: of its file, where it is ours.
        seed: of everything that was drawn.
        suite_sha256: over the suite's files and the gates.
    """

    limbic: str
    head: str = ""
    head_quantization: str = ""
    head_calibration: str = ""
    head_sha256: str = ""
    temperament: str = ""
    temperament_digest: str = ""
    upstream: str = ""
    model: str = ""
    model_sha256: str = ""
    seed: int = 0
    suite_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Miss:
    """One thing that did not come true: where, in which turn (from 1; 0 for none), what, and whose it is."""

    where: str
    turn: int
    what: str
    address: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a suite found.

    Attributes:
        suite: its name.
        started_at: in UTC, ISO 8601.
        duration_s: how long it took.
        running: what was running.
        figures: by name; NaN where something could not be measured.
        verdicts: what the gates say of them.
        misses: what did not come true.
        detail: what the reports and plots are made from; the suite's own.
    """

    suite: str
    started_at: str
    duration_s: float
    running: Running
    figures: Mapping[str, float]
    verdicts: Sequence[Verdict]
    misses: Sequence[Miss] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every gate was passed, and there was one."""
        return bool(self.verdicts) and all(verdict.passed for verdict in self.verdicts)


def to_json(result: Result) -> str:
    """Return the file's text: stable in its order, numbers rounded, NaN as null."""
    content = {
        "schema": SCHEMA,
        "suite": result.suite,
        "passed": result.passed,
        "started_at": result.started_at,
        "duration_s": result.duration_s,
        "running": asdict(result.running),
        "figures": dict(result.figures),
        "gates": [
            {
                "measure": one.gate.measure,
                "min": one.gate.least,
                "max": one.gate.most,
                "worse_by": one.gate.worse_by,
                "value": one.value,
                "passed": one.passed,
            }
            for one in result.verdicts
        ],
        "misses": [asdict(miss) for miss in result.misses],
        "detail": result.detail,
    }
    return json.dumps(_rounded(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Result:
    """Read a result.

    Raises:
        ResultError: it is none, or one of another version.
    """
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA:
            raise ResultError(
                f"schema {content['schema']} is not {SCHEMA}: it was written by another version; run it again"
            )
        return Result(
            suite=content["suite"],
            started_at=content["started_at"],
            duration_s=content["duration_s"],
            running=Running(**content["running"]),
            figures={name: _number(value) for name, value in content["figures"].items()},
            verdicts=[
                Verdict(
                    Gate(one["measure"], one["min"], one["max"], one["worse_by"]), _number(one["value"]), one["passed"]
                )
                for one in content["gates"]
            ],
            misses=[Miss(**one) for one in content["misses"]],
            detail=content["detail"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultError(f"no result of a probe: {error}") from None


def load_result(path: Path) -> Result:
    """Read a result's file.

    Raises:
        ResultError: it cannot be read, or is no result.
    """
    try:
        return from_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"{path} cannot be read: {error}") from None
    except ResultError as error:
        raise ResultError(f"{path}: {error}") from None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return value
