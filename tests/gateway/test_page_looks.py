"""How the page looks and is used by whom: light, dark, a phone, the keyboard alone, reduced motion; and what its policy forbids."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from tests.gateway.browser import Visit, visit
from tests.gateway.page_parts import PageHouse

BACKGROUND = "getComputedStyle(document.body).backgroundColor"

CONTRASTS = """() => {
  const probe = document.createElement("span");
  document.body.append(probe);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [high, low] = [luminance(colour(one)), luminance(colour(other))].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const text = [
    ["ink", "paper"], ["ink", "card"], ["ink", "mine"], ["ink", "raised"], ["soft", "paper"], ["soft", "card"], ["soft", "raised"],
    ["on-accent", "accent"], ["warn-ink", "warn"], ["warn-ink", "paper"], ["bad", "paper"], ["bad", "card"],
  ];
  const hues = ["dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline", "mood", "accent", "control"];
  const graphics = hues.flatMap((name) => [[name, "card"], [name, "raised"]]);
  const poor = [];
  for (const pair of text) if (ratio(...pair) < 4.5) poor.push([...pair, ratio(...pair)]);
  for (const pair of graphics) if (ratio(...pair) < 3) poor.push([...pair, ratio(...pair)]);
  probe.remove();
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_can_be_read_in_light_and_in_dark(
    page_house: PageHouse, browser: Browser, scheme: str
) -> None:
    async with await visit(browser, page_house.url, color_scheme=scheme) as guest:
        page = await guest.open()
        background = await page.evaluate(BACKGROUND)
        poor = await page.evaluate(CONTRASTS)

    levels = [int(number) for number in re.findall(r"\d+", background)[:3]]
    assert (min(levels) > 200) == (scheme == "light")
    assert poor == []


async def test_the_theme_can_be_chosen_and_stays(page_house: PageHouse, browser: Browser) -> None:
    async with await visit(browser, page_house.url, color_scheme="light") as guest:
        page = await guest.open()
        light = await page.evaluate(BACKGROUND)
        await page.get_by_role("button", name="Theme: as the system").click()
        await page.get_by_role("button", name="Theme: light").click()
        await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        dark = await page.evaluate(BACKGROUND)
        await page.reload()
        after = await page.evaluate(BACKGROUND)

    assert light != dark == after


@pytest.mark.parametrize("width", [360, 414, 768, 1024, 1920])
async def test_no_width_scrolls_sideways(page_house: PageHouse, browser: Browser, width: int) -> None:
    options = {"viewport": {"width": width, "height": 740}, "has_touch": width < 700, "is_mobile": width < 700}
    async with await visit(browser, page_house.url, **options) as guest:
        page = await guest.open()
        await page.get_by_label("What you say").fill(
            "I hate you and alongwordthatgoesonandonandonandonandonandonandonandon"
        )
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".message.reply .said")).to_have_text("Hello there.")
        wide = [await page.evaluate("document.documentElement.scrollWidth - innerWidth")]
        if width < 900:
            await expect(page.locator("#feelings")).to_be_hidden()
            await page.locator(".views").get_by_role("button", name="Feelings").click()
        await expect(page.locator(".mark.you")).to_be_visible()
        await page.locator(".mark.you").click()
        await expect(page.locator("#why .shares")).to_be_visible()
        wide.append(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))
        overflowing = await page.evaluate(
            """[...document.querySelectorAll("#feelings *")]
              .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
              .map((e) => e.outerHTML.slice(0, 80))"""
        )

    assert max(wide) <= 0
    assert overflowing == []


async def test_a_phone_shows_the_levels_above_the_chat(page_house: PageHouse, browser: Browser) -> None:
    async with await visit(browser, page_house.url, viewport={"width": 360, "height": 740}, has_touch=True) as guest:
        page = await guest.open()
        pulse = page.get_by_role("button", name="What it feels: show the levels")
        await expect(pulse.locator(".rise")).to_have_count(5)
        await pulse.click()
        await expect(page.get_by_role("meter", name="oxytocin")).to_be_visible()
        await expect(page.get_by_label("What you say")).to_be_hidden()


async def test_all_of_it_works_with_the_keyboard_alone(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    keyboard = page.keyboard

    async def tab_to(name: str) -> None:
        for _ in range(40):
            await keyboard.press("Tab")
            focused = await page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
            )
            if focused == name:
                ring = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert ring == "solid"
                return
        pytest.fail(f"Tab never came to {name}")

    await page.evaluate("document.activeElement.blur()")
    await tab_to("Skip to what you want to say")
    await keyboard.press("Enter")
    await expect(page.get_by_label("What you say")).to_be_focused()
    await keyboard.type("I missed you")
    await keyboard.press("Enter")
    await expect(page.locator(".message.reply .said")).to_have_text("Hello there.")
    await page.locator("#scroll").focus()
    await tab_to("joy")
    await keyboard.press("Enter")
    await expect(page.locator("#why .quote")).to_have_text("“I missed you”")
    await tab_to("Another reply")
    await keyboard.press("Enter")
    await expect(page.locator(".message.reply .place")).to_have_text("2/2")
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    await tab_to("Utterances: arrow keys go from one to the next")
    await keyboard.press("Home")
    await expect(page.get_by_role("option", selected=True)).to_have_count(1)


async def test_every_control_has_a_name(page_house: PageHouse, guest: Visit) -> None:
    await guest.say("I missed you")
    await guest.page.locator(".mark.you").click()

    nameless = await guest.page.evaluate(
        """[...document.querySelectorAll("button, textarea, summary, [role=meter], [role=option], [role=img]")]
          .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
          .map((e) => e.outerHTML.slice(0, 120))"""
    )

    assert nameless == []
    assert await guest.page.evaluate(
        "document.querySelectorAll('[id]').length === new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size"
    )


async def test_who_wants_no_motion_sees_none(page_house: PageHouse, browser: Browser) -> None:
    async with (
        await visit(browser, page_house.url, reduced_motion="reduce") as still,
        await visit(browser, page_house.url) as moving,
    ):
        durations = [
            await (await guest.open()).locator(".knob").first.evaluate("(e) => getComputedStyle(e).transitionDuration")
            for guest in (still, moving)
        ]

    assert durations == ["0s", "1s"]


async def test_the_policy_forbids_markup_from_text_and_other_hosts(page_house: PageHouse, guest: Visit) -> None:
    refused = await guest.page.evaluate(
        """async () => {
          const refused = [];
          try { document.createElement("div").innerHTML = "<b>x</b>"; } catch (error) { refused.push(error.name); }
          try { await fetch("https://example.org/"); } catch (error) { refused.push(error.name); }
          const script = document.createElement("script");
          try { script.textContent = "window.ran = true"; document.body.append(script); } catch (error) { refused.push(error.name); }
          refused.push(window.ran === undefined);
          return refused;
        }"""
    )

    assert refused == ["TypeError", "TypeError", "TypeError", True]
    assert all("Content Security Policy" in problem or "requires 'Trusted" in problem for problem in guest.problems)
    assert guest.problems
    guest.problems.clear()
