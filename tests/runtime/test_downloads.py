"""Fetching model files from a hub that breaks off, lies, forgets and refuses."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from limbic.runtime import downloads
from limbic.runtime.downloads import FRUITLESS_TRIES, LONGEST_WAIT_S, Download, DownloadError, Fetched
from tests.runtime.hub import Hub, serving_hub

CONTENT = b"GGUF" + random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub(CONTENT)
    with serving_hub(made):
        yield made


# Closed before the hub, which waits for its connections to end.
@pytest.fixture
def client(hub: Hub) -> Iterator[httpx.Client]:
    with httpx.Client(follow_redirects=True, timeout=10.0, trust_env=False) as made:
        yield made


class Waits(list[float]):
    """Takes the place of sleeping."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def fetch(
    client: httpx.Client,
    hub: Hub,
    target: Path,
    sha256: str = SHA256,
    waits: Waits | None = None,
    on_progress: Callable[[int, int], None] = lambda here, total: None,
) -> Fetched:
    url = f"{hub.url}/o/r/resolve/main/model.gguf"
    return Download(
        client, url, target, sha256=sha256, on_progress=on_progress, sleep=waits if waits is not None else Waits()
    ).fetch()


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_comes_whole_and_nothing_else_is_left(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "folder" / "model.gguf"
    progress: list[tuple[int, int]] = []

    fetched = fetch(client, hub, target, on_progress=lambda here, total: progress.append((here, total)))

    assert fetched == Fetched(target, SHA256, checked=True)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["model.gguf"]
    assert progress[0] == (0, len(CONTENT))
    assert progress[-1] == (len(CONTENT), len(CONTENT))


def test_a_connection_that_breaks_is_taken_up_where_it_broke(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.cut = [100_000, 50_000, 0, None]
    waits = Waits()

    fetch(client, hub, tmp_path / "model.gguf", waits=waits)

    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert hub.ranges_seen() == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    # Only where a connection brought nothing.
    assert len(waits) == 1


@given(cuts=st.lists(st.integers(0, 120_000), max_size=6))
@settings(max_examples=15)
def test_wherever_it_breaks_the_content_is_the_same(cuts: list[int]) -> None:
    runs = "".join("01"[cut > 0] for cut in cuts).split("1")
    assume(max(map(len, runs)) < FRUITLESS_TRIES)
    hub = Hub(CONTENT, cut=[*cuts, None])
    with (
        tempfile.TemporaryDirectory() as folder,
        serving_hub(hub),
        httpx.Client(follow_redirects=True, timeout=10.0, trust_env=False) as client,
    ):
        target = Path(folder) / "model.gguf"

        fetch(client, hub, target)

        assert target.read_bytes() == CONTENT


def test_the_next_start_goes_on_where_the_last_one_was_given_up(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    hub.cut.extend([200_000] + [0] * FRUITLESS_TRIES)
    with pytest.raises(DownloadError, match="200,000 bytes here; the same command goes on from there"):
        fetch(client, hub, target)
    assert not target.exists()
    hub.seen.clear()

    fetch(client, hub, target)

    assert target.read_bytes() == CONTENT
    assert hub.ranges_seen() == ["bytes=200000-"]


def test_a_server_without_ranges_sends_it_again(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.ranges, hub.cut = False, [100_000, None]

    fetch(client, hub, tmp_path / "model.gguf")

    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert len(hub.seen) == 2


def test_a_file_that_changed_meanwhile_is_begun_anew(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    hub.cut.extend([100_000] + [0] * FRUITLESS_TRIES)
    with pytest.raises(DownloadError):
        fetch(client, hub, target, sha256="")
    newer = b"GGUF" + random.Random(2).randbytes(400_000)
    hub.content, hub.etag = newer, '"two"'

    fetch(client, hub, target, sha256="")

    assert target.read_bytes() == newer


def test_without_a_version_or_a_hash_nothing_is_taken_up(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.etag, hub.cut = "", [100_000, None]

    fetched = fetch(client, hub, tmp_path / "model.gguf", sha256="")

    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert hub.ranges_seen() == [None, None]
    assert not fetched.checked


def test_a_part_that_is_complete_already_is_not_asked_for_again(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.gguf.part").write_bytes(CONTENT)

    fetch(client, hub, tmp_path / "model.gguf")

    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert hub.ranges_seen() == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_longer_than_the_file_is_begun_anew(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.gguf.part").write_bytes(CONTENT + b"more")

    fetch(client, hub, tmp_path / "model.gguf")

    assert (tmp_path / "model.gguf").read_bytes() == CONTENT


def test_wrong_content_is_discarded(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"{SHA256}, expected {'0' * 64}"):
        fetch(client, hub, tmp_path / "model.gguf", sha256="0" * 64)

    assert left(tmp_path / "model.gguf") == []


def test_the_hubs_own_word_is_taken_for_the_content(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.redirect, hub.sha256, hub.size = f"{hub.url}/cdn/model", SHA256, len(CONTENT)
    assert fetch(client, hub, tmp_path / "model.gguf", sha256="").checked

    hub.sha256 = "0" * 64
    with pytest.raises(DownloadError, match="expected 000000"):
        fetch(client, hub, tmp_path / "other.gguf", sha256="")


def test_a_length_that_the_hub_contradicts_is_not_fetched(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.redirect, hub.sha256, hub.size = f"{hub.url}/cdn/model", SHA256, len(CONTENT) + 1

    with pytest.raises(DownloadError, match="that its hub says has"):
        fetch(client, hub, tmp_path / "model.gguf", sha256="")


def test_a_server_that_announces_more_than_it_has_is_given_up(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.announce, hub.ranges = len(CONTENT) + 10, False

    with pytest.raises(DownloadError, match=r"the connection broke off \(RemoteProtocolError\)"):
        fetch(client, hub, tmp_path / "model.gguf")

    assert len(hub.seen) > 1
    assert not (tmp_path / "model.gguf").exists()


def test_without_a_length_the_hash_decides_and_without_both_nothing_is_fetched(
    client: httpx.Client, hub: Hub, tmp_path: Path
) -> None:
    hub.announce = -1

    with pytest.raises(DownloadError, match="does not say how long"):
        fetch(client, hub, tmp_path / "model.gguf", sha256="")
    fetch(client, hub, tmp_path / "model.gguf")

    assert (tmp_path / "model.gguf").read_bytes() == CONTENT


def test_a_page_instead_of_a_model_is_refused(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.content, hub.content_type = b"<html>Please log in</html>", "text/html"

    with pytest.raises(DownloadError, match=r"no GGUF file \(text/html\)"):
        fetch(client, hub, tmp_path / "model.gguf")

    assert left(tmp_path / "model.gguf") == []


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "HUB_TOKEN_FILE"), (403, "accept the model's terms"), (404, "no such file"), (410, "410")],
)
def test_a_refusal_is_told_at_once(client: httpx.Client, hub: Hub, tmp_path: Path, status: int, said: str) -> None:
    hub.statuses = [(status, {})]

    with pytest.raises(DownloadError, match=said):
        fetch(client, hub, tmp_path / "model.gguf")

    assert len(hub.seen) == 1


def test_what_can_pass_is_waited_for_as_long_as_asked(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.statuses = [(429, {"Retry-After": "7"}), (503, {"Retry-After": "9999"}), (500, {})]
    waits = Waits()

    fetch(client, hub, tmp_path / "model.gguf", waits=waits)

    assert waits == [7.0, LONGEST_WAIT_S, 2.0]


def test_a_full_disk_is_told_before_anything_is_written(
    client: httpx.Client, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads, "SPARE_BYTES", usage.total + 1)

    with pytest.raises(DownloadError, match=f"{len(CONTENT):,} bytes are missing"):
        fetch(client, hub, tmp_path / "model.gguf")

    assert (tmp_path / "model.gguf.part").stat().st_size == 0


def test_a_folder_that_cannot_be_written_is_told(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(client, hub, tmp_path / "file" / "model.gguf")


def test_two_at_once_do_not_write_into_each_other(client: httpx.Client, hub: Hub, tmp_path: Path) -> None:
    hub.hold, begun = threading.Event(), threading.Event()
    target = tmp_path / "model.gguf"
    first = threading.Thread(
        target=fetch, args=(client, hub, target), kwargs={"on_progress": lambda here, total: begun.set()}
    )
    first.start()
    assert begun.wait(10.0)

    with pytest.raises(DownloadError, match="being fetched already"):
        fetch(client, hub, target)
    hub.hold.set()
    first.join()

    assert target.read_bytes() == CONTENT


def test_a_token_goes_to_the_hub_and_not_to_where_it_redirects(tmp_path: Path) -> None:
    elsewhere, hub = Hub(CONTENT), Hub()
    with (
        serving_hub(elsewhere),
        serving_hub(hub),
        httpx.Client(follow_redirects=True, trust_env=False, headers={"Authorization": "Bearer secret"}) as client,
    ):
        hub.redirect = f"{elsewhere.url}/cdn/model"
        fetch(client, hub, tmp_path / "model.gguf")

    assert hub.seen[0][1]["authorization"] == "Bearer secret"
    assert "authorization" not in elsewhere.seen[0][1]
