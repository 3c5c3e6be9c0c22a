"""A real browser: Debian's Chromium, started once for all tests, with a fresh context for each.

Without it the tests that need it are skipped, and where REQUIRE_CHROMIUM is set, as on the integration service, they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

PATIENCE_MS = 60_000
"""For what the page shows by itself: the machine may be busy."""

expect.set_options(timeout=PATIENCE_MS)


class Chromium:
    """A browser process that several tests connect to, one after the other."""

    def __init__(self) -> None:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        if found is None:
            missing = "Chromium is not installed: sudo apt-get install chromium"
            assert not os.environ.get("REQUIRE_CHROMIUM"), missing
            pytest.skip(missing)
        self._folder = Path(tempfile.mkdtemp(prefix="limbic-chromium-"))
        arguments = [
            "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={self._folder}", "--disable-gpu",
            "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--lang=en-GB",
        ]  # fmt: skip
        if os.geteuid() == 0:
            # Chromium refuses its sandbox to root.
            arguments.append("--no-sandbox")
        # It ends when the pipe closes, which it does however the tests end, by kill -9 too.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", '"$@" & cat >/dev/null; kill $!; wait', "sh", found, *arguments, "about:blank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LANGUAGE": "en"},
        )
        self.endpoint = f"http://127.0.0.1:{self._port()}"

    def _port(self) -> int:
        written = self._folder / "DevToolsActivePort"
        give_up = time.monotonic() + 60.0
        while not (written.exists() and written.read_text().count("\n")):
            assert time.monotonic() < give_up, "Chromium did not start within a minute"
            time.sleep(0.05)
        return int(written.read_text().splitlines()[0])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)


class Visit:
    """One person's look at the page. At its end there must have been no error and no request to another host.

    Attributes:
        page: the page.
        problems: what went wrong in the page; a test that expects something takes it out.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.problems: list[str] = []
        self._url = url
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("request", self._request)

    async def open(self, query: str = "") -> Page:
        """Open the page and wait until the state engine has answered."""
        await self.page.goto(f"{self._url}/{query}")
        await expect(self.page.locator("[data-level=cortisol]")).to_be_attached()
        return self.page

    async def say(self, text: str, *, until: str | None = "Hello there.") -> None:
        """Say something and wait for the whole reply."""
        before = await self.page.locator(".message.reply").count()
        field = self.page.get_by_label("What you say")
        await field.fill(text)
        await field.press("Enter")
        if until is not None:
            await expect(self.page.locator(".message.reply")).to_have_count(before + 1)
            await expect(self.page.locator(".message.reply .said").last).to_have_text(until)
            await expect(self.page.get_by_role("button", name="Send")).to_be_visible()

    async def level(self, name: str) -> float:
        """Return a level as it is shown now."""
        shown = await self.page.get_by_role("meter", name=name, exact=True).get_attribute("aria-valuenow")
        return float(shown or "nan")

    async def session(self) -> str:
        """Return the id of the conversation that is open."""
        return str(await self.page.evaluate("localStorage.getItem('limbic.session')"))

    def _console(self, message: ConsoleMessage) -> None:
        # A browser writes every refused request down by itself; whether the page deals with it is what the tests look at.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.problems.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self._url).netloc:
            self.problems.append(f"foreign request: {request.url}")

    async def __aenter__(self) -> Visit:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.page.context.close()
        if kind is None:
            assert self.problems == []


@asynccontextmanager
async def browsing(chromium: Chromium) -> AsyncIterator[Browser]:
    """Connect to the browser for the length of a block."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium.endpoint)
        yield browser
        await browser.close()


async def visit(browser: Browser, url: str, **options: Any) -> Visit:
    """Make a visit; `options` are those of a browser context."""
    options.setdefault("viewport", {"width": 1280, "height": 900})
    context = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    return Visit(await context.new_page(), url)
