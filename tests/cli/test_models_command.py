"""`limbic models` as a user runs it, against a hub on this machine."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from limbic.cli.models import SourceError, source_of
from limbic.runtime.models import ModelFileError, find_model, record_sha256, recorded_sha256
from tests.runtime.hub import Hub, serving_hub
from tools.generated import ROOT

CONTENT = b"GGUF" + random.Random(3).randbytes(50_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub(CONTENT)
    with serving_hub(made):
        yield made


def run(hub: Hub, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"LIMBIC_RUNTIME__MODELS_DIR": str(folder), "LIMBIC_RUNTIME__HUB_URL": hub.url, **environment}
    return subprocess.run(
        [sys.executable, "-m", "limbic.cli", "models", *arguments],
        cwd=ROOT,
        env=os.environ | variables | {"COLUMNS": "200", "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_model_is_pulled_listed_verified_and_found_by_its_path(hub: Hub, tmp_path: Path) -> None:
    hub.redirect, hub.sha256, hub.size = f"{hub.url}/cdn/x", SHA256, len(CONTENT)

    pulled = run(hub, tmp_path, "pull", "owner/repo-GGUF@v2/sub/model-Q4.gguf")
    again = run(hub, tmp_path, "pull", "owner/repo-GGUF@v2/sub/model-Q4.gguf")
    listed = run(hub, tmp_path, "list")
    verified = run(hub, tmp_path, "verify", "model-Q4.gguf")

    path = tmp_path / "model-Q4.gguf"
    assert pulled.returncode == 0, pulled.stderr
    assert f"SHA-256 {SHA256}, as it should be" in pulled.stdout
    assert f"LIMBIC_LLM__MODEL={path}" in pulled.stdout
    assert [seen for seen, _ in hub.seen] == ["/owner/repo-GGUF/resolve/v2/sub/model-Q4.gguf", "/cdn/x"]
    assert again.returncode == 0
    assert "is here already" in again.stdout
    assert "model-Q4.gguf" in listed.stdout
    assert "smollm2-135m-instruct" in listed.stdout
    assert (verified.returncode, verified.stdout) == (0, f"ok   model-Q4.gguf: {SHA256}, as recorded\n")
    # What services load by its path is held to what was recorded.
    assert find_model(str(path)).verify() == SHA256
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(ModelFileError, match=f"expected {SHA256}"):
        find_model(str(path)).verify()
    assert run(hub, tmp_path, "verify", "model-Q4.gguf").returncode == 1


def test_a_wrong_hash_leaves_nothing_and_says_so(hub: Hub, tmp_path: Path) -> None:
    pulled = run(hub, tmp_path, "pull", "owner/repo/model.gguf", "--sha256", "0" * 64)

    assert pulled.returncode == 1
    assert f"error: what came has SHA-256 {SHA256}, expected {'0' * 64}" in pulled.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_token_of_the_hub_is_sent_there_and_shown_nowhere(hub: Hub, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hf_secret\n")
    elsewhere = Hub(CONTENT)

    with serving_hub(elsewhere, "localhost"):
        first = run(hub, tmp_path, "pull", "o/r/one.gguf", LIMBIC_RUNTIME__HUB_TOKEN_FILE=str(token))
        second = run(hub, tmp_path, "pull", f"{elsewhere.url}/two.gguf", LIMBIC_RUNTIME__HUB_TOKEN_FILE=str(token))

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert hub.seen[0][1]["authorization"] == "Bearer hf_secret"
    assert "authorization" not in elsewhere.seen[0][1]
    assert "hf_secret" not in first.stdout + first.stderr


def test_a_token_file_that_is_missing_is_told(hub: Hub, tmp_path: Path) -> None:
    pulled = run(hub, tmp_path, "pull", "o/r/one.gguf", LIMBIC_RUNTIME__HUB_TOKEN_FILE=str(tmp_path / "none"))

    assert pulled.returncode == 1
    assert "the token file cannot be read (FileNotFoundError)" in pulled.stderr


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("smollm2-135m-instruct", "is not fetched: `make up` builds or installs it"),
        ("owner/repo", "neither OWNER/REPOSITORY/FILE.gguf nor"),
        ("owner/repo/model.safetensors", "neither"),
        ("owner/repo/../../../etc/x.gguf", "neither"),
        ("https://example.org/page", "neither"),
        ("file:///etc/x.gguf", "neither"),
    ],
)
def test_what_cannot_be_fetched_is_told(model: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        source_of(model, "https://hub")


def test_a_name_on_the_hub_becomes_an_address() -> None:
    assert source_of("o/r/a/b.gguf", "https://hub/").url == "https://hub/o/r/resolve/main/a/b.gguf"
    assert source_of("o/r@abc123/b.gguf", "https://hub").url == "https://hub/o/r/resolve/abc123/b.gguf"
    assert source_of("https://x.org/d/b%20c.gguf?download=true", "https://hub").file == "b c.gguf"


def test_a_record_is_what_sha256sum_reads_and_nothing_else_is_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(CONTENT)
    assert recorded_sha256(path) == ""
    record_sha256(path, SHA256)

    assert recorded_sha256(path) == SHA256
    check = subprocess.run(["sha256sum", "--check", "m.gguf.sha256"], cwd=tmp_path, capture_output=True, check=False)
    assert check.returncode == 0
    (tmp_path / "m.gguf.sha256").write_text("rubbish")
    with pytest.raises(ModelFileError, match="holds no SHA-256"):
        recorded_sha256(path)
