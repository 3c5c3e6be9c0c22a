"""Baselines: the results that later ones are compared with, and whether they are still of what is running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from limbic.probes.errors import ResultError
from limbic.probes.gates import SUITES
from limbic.probes.result import Result, Running, from_json, load_result, to_json

SPOKEN = ("canary", "latency")
"""The suites in whose results the model has a part."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline, and where it lies."""

    place: str
    result: Result


def baseline_of(suite: str, own: Path) -> Baseline | None:
    """Return a suite's baseline: your own from the folder `own`, else the one that is shipped; None where there is neither.

    Raises:
        ResultError: it cannot be read.
    """
    path = own / f"{suite}.json"
    if path.is_file():
        return Baseline(str(path), load_result(path))
    shipped = resources.files("limbic.probes").joinpath("baselines", f"{suite}.json")
    if not shipped.is_file():
        return None
    try:
        return Baseline(f"the shipped {suite}.json", from_json(shipped.read_text("utf-8")))
    except ResultError as error:
        raise ResultError(f"the shipped {suite}.json: {error}") from None


def write_baseline(result: Result, folder: Path) -> Path:
    """Keep a result as its suite's baseline.

    Raises:
        ResultError: the folder cannot be written.
    """
    path = folder / f"{result.suite}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(to_json(result), "utf-8")
    except OSError as error:
        raise ResultError(f"{path} cannot be written: {error.strerror}") from None
    return path


def outdated(suite: str, of: Running, now: Running) -> list[str]:
    """Return what a baseline was made with that is not what is running, by content and not by date; empty where it is current.

    What either side does not know is passed over.
    """
    found = []
    if _differ(of.head_sha256, now.head_sha256):
        found.append(_other("head", of.head, now.head))
    if _differ(of.temperament_digest, now.temperament_digest):
        found.append(_other("temperament", of.temperament, now.temperament))
    if suite in SPOKEN:
        # A model behind a server has no hash that we know; its name is what there is.
        hashed = bool(of.model_sha256 and now.model_sha256)
        if _differ(of.model_sha256, now.model_sha256) if hashed else _differ(of.model, now.model):
            found.append(_other("model", of.model, now.model))
    return found


def all_baselines(own: Path, suites: Sequence[str] = SUITES) -> Iterator[tuple[str, Baseline | ResultError | None]]:
    """Yield each suite's baseline, what is wrong with it, or None where there is none."""
    for suite in suites:
        try:
            yield suite, baseline_of(suite, own)
        except ResultError as error:
            yield suite, error


def _differ(before: str, after: str) -> bool:
    return bool(before and after) and before != after


def _other(what: str, before: str, after: str) -> str:
    return (
        f"another {what} ({before}, now {after})" if before != after else f"another {what} of the same name ({after})"
    )
