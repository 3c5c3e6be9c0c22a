from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.affect_head.window import ContextRule
from tests.training.tiny import write_sources
from tests.training.tiny_run import describe, tiny_run
from training.context_pairs import PAIRS_FILE, read_pairs, read_with_context, score_context, score_unrelated
from training.dataset import build_dataset, load_dataset
from training.errors import DataError
from training.export import assemble
from training.gguf_file import write_gguf
from training.outputs import AXES
from training.runner import GgufRunner

ANY = ContextRule(turns=2, text_tokens=512, turn_tokens=512)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> tuple[Path, Path]:
    """A tiny head as F32, and the data set that it was trained on."""
    folder = tmp_path_factory.mktemp("context")
    data, probes = write_sources(folder)
    build_dataset(data, folder / "dataset", probes)
    tiny_run(folder / "dataset", folder, tiny_base, epochs=1).train()
    write_gguf(folder / "head.gguf", assemble(folder, describe(folder), tiny_base), "F32")
    return folder / "head.gguf", folder / "dataset"


def test_the_committed_pairs_are_enough_and_of_every_kind() -> None:
    pairs = read_pairs()

    assert len(pairs) >= 40
    kinds = {pair[0].kind for pair in pairs}
    assert {"sarcasm", "boundary_or_comfort", "apology", "news"} <= kinds
    for first, second in pairs:
        assert max(abs(a - b) for a, b in zip(first.axes, second.axes, strict=True)) >= 0.2
        assert all(round(10 * value) == pytest.approx(10 * value) for value in (*first.axes, *second.axes))


def test_words_are_packed_as_the_server_packs_them(head: tuple[Path, Path]) -> None:
    from limbic.runtime.llama import AbortFlag
    from services.affect_head.encoder import EncoderHead
    from services.affect_head.head import Utterance

    class Remembering(EncoderHead):
        pass

    path, _ = head
    served = Remembering(path, sha256="0" * 64, threads=1)
    reader = served.open_reader()
    # The tiny head's file says that it uses no context; what is tested is the layout.
    reader._rule = ANY
    try:
        reading = reader.read(Utterance("No, never again.", ("You promised me.", "Will you come?")), AbortFlag()).axes
    finally:
        reader.close()
        served.close()

    with GgufRunner(path, 128) as runner:
        here, count = read_with_context(runner, "No, never again.", ("You promised me.", "Will you come?"), ANY)
        alone, none = read_with_context(runner, "No, never again.", (), ANY)

    assert here == pytest.approx([reading.valence, reading.intimacy, reading.tension], abs=1e-4)
    assert np.abs(here - alone).max() > 1e-3
    assert (count, none) == (2, 0)


def test_what_context_does_is_counted_pair_by_pair(head: tuple[Path, Path], tmp_path: Path) -> None:
    path, _ = head
    with GgufRunner(path, 128) as runner:
        after = {turn: read_with_context(runner, "Oh no.", (turn,), ANY)[0] for turn in ("We won!", "We lost.")}
        higher, lower = sorted(after, key=lambda turn: -after[turn][0])
        lines: list[dict[str, Any]] = [
            {
                "pair": "1",
                "kind": "news",
                "context": [turn],
                "text": "Oh no.",
                "valence": v,
                "intimacy": 0.1,
                "tension": 0,
            }
            for turn, v in ((higher, 0.5), (lower, -0.5))
        ]
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        right = score_context(runner, read_pairs(tmp_path / "pairs.jsonl"), ANY)
        for line in lines:
            line["valence"] = -line["valence"]
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        wrong = score_context(runner, read_pairs(tmp_path / "pairs.jsonl"), ANY)
        alone, _ = read_with_context(runner, "Oh no.", (), ANY)
        left_out = score_context(runner, read_pairs(tmp_path / "pairs.jsonl"), ContextRule(1, 1, 512))

    assert (right["valence_telling"], right["intimacy_telling"]) == (1, 0)
    assert (right["valence_right"], wrong["valence_right"]) == (1, 0)
    assert right["intimacy_mae_without"] == pytest.approx(abs(alone[1] - 0.1))
    assert right["valence_mae"] < wrong["valence_mae"]
    assert right["pairs_read"] == 1
    assert left_out == {"pairs": 1, "pairs_read": 0}


def test_an_unrelated_turn_is_drawn_by_the_rows_key(head: tuple[Path, Path]) -> None:
    path, data = head
    rows = [row for row in load_dataset(data).dev if row.source == "probes"]
    with GgufRunner(path, 128) as runner:
        first = score_unrelated(runner, rows, ["The ship left.", "Where is he?", "Nothing."], ANY)
        again = score_unrelated(runner, rows, ["The ship left.", "Where is he?", "Nothing."], ANY)
        other = score_unrelated(runner, rows, ["Run!"], ANY)
        short = score_unrelated(runner, rows, ["Run!"], ContextRule(1, 1, 512))

    assert first == again
    assert first["unrelated_rows"] == first["unrelated_valence_rows"] == len(rows)
    assert short["unrelated_rows"] == 0
    assert all(first[f"unrelated_{axis}_mae_without"] == other[f"unrelated_{axis}_mae_without"] for axis in AXES)
    assert any(first[f"unrelated_{axis}_mae"] != other[f"unrelated_{axis}_mae"] for axis in AXES)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: lines[:-1], "pair 52 is not the same words after two different turns"),
        (lambda lines: [lines[0].replace("Oh, great", "Oh, fine"), *lines[1:]], "pair 01 is not the same words"),
        (lambda lines: [lines[0], lines[0], *lines[2:]], "pair 01 is not the same words"),
        (lambda lines: ["{}", *lines], r"pairs\.jsonl, line 1 is not half a context pair"),
        (lambda lines: [lines[0].replace("0.6", "6"), *lines[1:]], "line 1 is not half .* outside -1 to 1"),
    ],
)
def test_what_is_no_pair_is_refused(change, sentence: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    lines = PAIRS_FILE.read_text(encoding="utf-8").splitlines()
    (tmp_path / "pairs.jsonl").write_text("\n".join(change(lines)))

    with pytest.raises(DataError, match=sentence):
        read_pairs(tmp_path / "pairs.jsonl")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl"):
        read_pairs(tmp_path / "none.jsonl")
