"""One trained tiny head through every step to llama.cpp: merge, export, quantize, load, read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from services.affect_head.head_file import read_head_file
from tests.training.tiny import write_sources
from tests.training.tiny_run import describe, tiny_run
from training.adapter import ADAPTER_FILE
from training.calibration import axis_confidence
from training.dataset import PROBE_FOLDER, build_dataset
from training.errors import IntegrityError, ModelError
from training.export import assemble
from training.gguf_file import WEIGHT_TYPES, GgufModel, read_gguf, write_gguf, write_whole
from training.head import Head, load_head
from training.outputs import EXPORTED, EXPORTED_NAMES
from training.reading import latency_milliseconds, read_rows_with
from training.runner import GgufRunner
from training.scoring import score
from training.sources import PROBES
from training.text import to_ascii
from training.tokenizer import differing_texts, load_tokenizer
from training.train import Run


@dataclass(frozen=True)
class Tiny:
    folder: Path
    run: Run
    head: Head
    model: GgufModel
    base: Path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    build_dataset(*_with_out(write_sources(folder), folder / "dataset"))
    run = tiny_run(folder / "dataset", folder, tiny_base)
    run.train()
    head = describe(folder)
    return Tiny(folder, run, head, assemble(folder, head, tiny_base), tiny_base)


def _with_out(sources: tuple[Path, Path], out: Path) -> tuple[Path, Path, Path]:
    return sources[0], out, sources[1]


def _written(tiny: Tiny, kind: str, path: Path) -> Path:
    write_gguf(path, tiny.model, kind)  # type: ignore[arg-type]
    return path


def test_llama_cpp_computes_what_pytorch_computed(tiny: Tiny, tmp_path: Path) -> None:
    """The adapter is stored in float16; the network is given those very weights, and must then agree."""
    state = tiny.run.network.trained_state()
    halved = {n: v.half().float() if n.startswith("lora.") else v for n, v in state.items()}
    tiny.run.network.load_trained_state(halved)
    expected = tiny.run.outputs("dev")[:, :EXPORTED]
    tiny.run.network.load_trained_state(state)

    measured = read_rows_with(_written(tiny, "F32", tmp_path / "f32.gguf"), tiny.run.dataset.dev, 128, workers=2)

    # In the measure of how far apart the texts are, so that it means something.
    assert np.abs(measured - expected).max() < 0.02 * np.ptp(expected, axis=0).min()


def test_fewer_bits_stay_near_and_take_less_room(tiny: Tiny, tmp_path: Path) -> None:
    rows = tiny.run.dataset.dev
    files = {kind: _written(tiny, kind, tmp_path / f"{kind}.gguf") for kind in WEIGHT_TYPES}
    sizes = [file.stat().st_size for file in files.values()]
    outputs = {kind: read_rows_with(file, rows, 128, workers=1) for kind, file in files.items()}

    assert sizes == sorted(sizes, reverse=True)
    spread = outputs["F32"].std()
    assert np.abs(outputs["F16"] - outputs["F32"]).max() < 0.02 * spread
    assert np.abs(outputs["Q8_0"] - outputs["F32"]).max() < 0.2 * spread
    assert np.abs(outputs["Q4_0"] - outputs["F32"]).mean() < 0.5 * spread
    latencies = latency_milliseconds([files["Q8_0"], files["Q4_0"]], 128)
    assert len(latencies) == 2
    assert all(0 < median <= slow for median, slow in latencies)


@pytest.mark.parametrize("kind", WEIGHT_TYPES)
def test_quantizing_an_exported_file_gives_the_bytes_of_a_direct_build(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    full = _written(tiny, "F32", tmp_path / "f32.gguf")

    write_whole(tmp_path / "deep" / "quantized.gguf", read_gguf(full), kind)  # type: ignore[arg-type]

    direct = _written(tiny, kind, tmp_path / "direct.gguf")
    assert (tmp_path / "deep" / "quantized.gguf").read_bytes() == direct.read_bytes()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["quantized.gguf"]


def test_the_file_says_what_it_is(tiny: Tiny, tmp_path: Path) -> None:
    fields = GGUFReader(_written(tiny, "Q4_0", tmp_path / "head.gguf")).fields

    def value(key: str) -> object:
        return fields[key].contents()

    assert value("bert.pooling_type") == 4
    assert value("bert.classifier.pooling_type") == 1
    assert value("bert.classifier.output_labels") == list(EXPORTED_NAMES)
    assert value("affect.schema_version") == 2
    assert value("affect.head_id") == "tiny"
    assert value("affect.emotion_thresholds") == pytest.approx([0.3] * 28)
    assert value("affect.axes") == ["valence", "intimacy", "tension"]
    assert value("affect.axis_activation") == "tanh"
    assert value("affect.calibration.sigma_scale") == [1.0, 1.5, 2.0]
    assert value("affect.calibration.confidence_weights") == pytest.approx([0.5, -1.0, 0.1, 0.2, 0.3] * 3)
    assert value("affect.quantization") == "Q4_0"
    assert value("affect.calibration.confidence_tolerance") == 0.25
    assert value("affect.normalizer") == "ascii-v1"
    assert value("affect.provenance") == '{"base":"random"}'


def test_llama_cpp_cuts_texts_as_the_bases_tokenizer_does(tiny: Tiny, tmp_path: Path) -> None:
    rows = [row for file in sorted(PROBE_FOLDER.glob("*.jsonl")) for row in PROBES.read(file, file.name)]
    texts = [row.text for row in rows]
    texts += [text.upper() for text in texts] + [text.replace(" ", "-") for text in texts[:500]]
    texts += [
        to_ascii(f"{chr(code)}a{chr(code)} {chr(code)}") for code in (*range(0x20, 0x530), *range(0x1F300, 0x1F650))
    ]
    texts += ["", "##ing", "a" * 99, "so " * 200, "x.y,z;w", "$5.00 @you #tag 50%"]
    # The base's tokenizer gives up on a word of more than 100 letters, and takes "[SEP]" in a text for the real one;
    # llama.cpp reads on, and lets no text speak for the system. Both are better, and neither comes in the data.
    known = ["a" * 101, "end [SEP]"]

    with GgufRunner(_written(tiny, "Q4_0", tmp_path / "head.gguf"), 128) as runner:
        differing = differing_texts(runner.tokenize, load_tokenizer(tiny.base), texts + known, 128)

    assert [text for text in differing if max(map(len, text.split())) <= 100] == known[1:]
    assert known[0] in differing
    assert len(texts) > 4000


def test_the_service_reads_what_the_evaluation_measured(tiny: Tiny, tmp_path: Path) -> None:
    from limbic.runtime.llama import AbortFlag
    from services.affect_head.encoder import EncoderHead
    from services.affect_head.head import Utterance

    path = _written(tiny, "Q8_0", tmp_path / "head.gguf")
    rows = tiny.run.dataset.dev[:20]
    scored = score(read_rows_with(path, rows, 128, workers=1), rows)
    head = EncoderHead(path, sha256="0" * 64, threads=1)
    reader = head.open_reader()
    try:
        served = [reader.read(Utterance(row.text, ()), AbortFlag()) for row in rows]
    finally:
        reader.close()
        head.close()

    axes = np.array([[r.axes.valence, r.axes.intimacy, r.axes.tension] for r in served])
    assert np.abs(axes - scored.predicted).max() < 1e-4
    probabilities = np.array([[emotion.probability for emotion in r.emotions] for r in served])
    assert np.abs(probabilities[scored.labelled] - scored.probabilities).max() < 1e-4
    sigma = scored.sigma * tiny.head.calibration.sigma_scale
    confidence = [
        axis_confidence(np.array(weights), scored.predicted, sigma[:, axis])
        for axis, weights in enumerate(tiny.head.calibration.confidence_weights)
    ]
    assert [r.confidence for r in served] == pytest.approx(np.mean(confidence, axis=0).tolist(), abs=1e-4)


def test_the_mixed_type_keeps_what_suffers_most_in_eight_bits(tiny: Tiny, tmp_path: Path) -> None:
    path = _written(tiny, "Q4_8", tmp_path / "mixed.gguf")

    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
    assert {kinds[f"blk.1.{part}.weight"] for part in ("attn_v", "ffn_up")} == {"Q8_0"}
    assert {kinds[f"blk.1.{part}.weight"] for part in ("attn_q", "attn_k", "attn_output", "ffn_down")} == {"Q4_0"}
    assert (kinds["token_embd.weight"], kinds["cls.weight"], kinds["blk.1.attn_v.bias"]) == ("Q4_0", "F32", "F32")
    assert read_head_file(path).identity.quantization == "Q4_8"


def test_an_adapter_alone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "adapter.gguf", "qwen3")
    writer.add_string("general.type", "adapter")
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((2, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with pytest.raises(ModelError, match=r"an adapter only \(no qwen3\.context_length\).*Merge it .* export"):
        read_gguf(tmp_path / "adapter.gguf")


def test_what_is_no_head_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("this is no model")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        read_gguf(tmp_path / "text.gguf")
    with pytest.raises(ModelError, match="could not load"):
        GgufRunner(tmp_path / "text.gguf", 128)
    with pytest.raises(ModelError, match="is missing"):
        read_gguf(tmp_path / "nowhere.gguf")


def test_more_tokens_than_the_context_holds_never_reach_llama_cpp(tiny: Tiny, tmp_path: Path) -> None:
    with GgufRunner(_written(tiny, "F16", tmp_path / "head.gguf"), 16) as runner:
        assert len(runner.tokenize("so " * 100)) == 16
        for tokens in ([], [101] * 17):
            with pytest.raises(ModelError, match="1 to 16 can be read"):
                runner.outputs(tokens)


def test_an_adapter_that_head_json_does_not_speak_of_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / ADAPTER_FILE).write_bytes((tiny.folder / ADAPTER_FILE).read_bytes())
    head = describe(tmp_path, adapter_sha256="0" * 64)

    with pytest.raises(IntegrityError, match=r"but head\.json names 0000"):
        assemble(tmp_path, head, tiny.base)


def test_head_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / ADAPTER_FILE).write_bytes(b"any")
    head = describe(tmp_path, metrics={"Q8_0": {"f1": 0.5}}, gguf_sha256={"Q8_0": "ab"})

    assert load_head(tmp_path) == head
    (tmp_path / "head.json").write_text((tmp_path / "head.json").read_text().replace("ascii-v1", "ascii-v2"))
    with pytest.raises(ModelError, match="another normalizer than this version"):
        load_head(tmp_path)
    (tmp_path / "head.json").unlink()
    with pytest.raises(ModelError, match=r"head\.json is missing: .*calibrate"):
        load_head(tmp_path)
