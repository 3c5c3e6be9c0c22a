"""The page at a gateway that asks for a key."""

from __future__ import annotations

from datetime import UTC, datetime

from playwright.async_api import Browser, expect

from limbic.runtime.keys import Role, new_key, save_keys
from tests.gateway.browser import visit
from tests.gateway.page_parts import PageHouse


async def test_the_page_asks_for_the_key_and_keeps_it(page_parts: PageHouse, browser: Browser) -> None:
    secret, key = new_key("ada", Role.USER, now=datetime.now(UTC))
    keys_file = page_parts.directory / "keys.jsonl"
    save_keys(keys_file, [key])
    await page_parts.start(keys_file=keys_file)
    async with await visit(browser, page_parts.url) as guest:
        page = guest.page
        await page.goto(page_parts.url)
        field = page.get_by_label("Key", exact=True)
        await expect(page.get_by_role("heading", name="This gateway asks for a key")).to_be_visible()
        await field.fill("lmb_wrong")
        await page.get_by_role("button", name="Come in").click()
        await expect(page.locator("#key-note")).to_contain_text("is not known here")

        await field.fill(secret)
        await page.get_by_role("button", name="Come in").click()
        await expect(page.get_by_role("meter", name="cortisol")).to_be_visible()
        await guest.say("I missed you")
        await page.reload()
        await expect(page.locator(".message.you .said")).to_have_text("I missed you")
        assert secret not in await page.content()

        await page.locator("#conversations").click()
        await page.get_by_role("button", name="Forget the key on this browser").click()
        await expect(page.get_by_role("heading", name="This gateway asks for a key")).to_be_visible()
