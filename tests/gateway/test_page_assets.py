"""The page's files: served whole, cached by their content, under a strict policy, and with nothing from anywhere else."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

import gateway
from gateway.http.page import load_assets

FOLDER = Path(gateway.__file__).parent / "page"
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())


def test_every_file_of_the_page_is_served() -> None:
    assert sorted(load_assets()) == FILES


async def test_the_page_comes_with_its_policy(http: httpx.AsyncClient) -> None:
    response = await http.get("/")

    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", FILES)
async def test_a_file_that_has_not_changed_is_not_sent_again(http: httpx.AsyncClient, path: str) -> None:
    first = await http.get(f"/page/{path}")
    again = await http.get(f"/page/{path}", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    head = await http.head(f"/page/{path}")

    assert first.content == (FOLDER / path).read_bytes()
    assert (again.status_code, again.content) == (304, b"")
    assert (head.headers["content-length"], head.content) == (str(len(first.content)), b"")


@pytest.mark.parametrize("path", ["nothing.js", "../service.py", "%2e%2e/service.py", "js/", ""])
async def test_there_is_nothing_else(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(f"/page/{path}")).status_code == 404


async def test_a_strangers_name_for_this_machine_is_not_answered(http: httpx.AsyncClient) -> None:
    response = await http.get("/", headers={"host": "evil.example"})

    assert (response.status_code, response.json()["error"]["reason"]) == (403, "UNKNOWN_HOST")


@pytest.mark.parametrize("path", FILES)
def test_no_file_names_another_host_or_makes_markup_of_text(path: str) -> None:
    text = (FOLDER / path).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]{2,}|@import|url\(", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\bstyle=|\son[a-z]+=", text
    )


def test_every_module_is_asked_for_at_once() -> None:
    """Else a browser finds them one after the other, each after a round trip more."""
    asked = set(re.findall(r'modulepreload" href="/page/(js/[a-z]+\.js)"', (FOLDER / "index.html").read_text("utf-8")))

    assert asked == {path for path in FILES if path.endswith(".js")} - {"js/early.js", "js/main.js"}
