"""The timeline in a real browser: what an utterance still contributes, by mouse and by keyboard, as a chart and as a table."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import expect

from tests.gateway.browser import Visit
from tests.gateway.page_parts import PageHouse


async def test_a_click_on_an_utterance_says_what_it_still_contributes(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("I hate you")
    await expect(page.locator(".contribution .quote")).to_have_text("I hate you")

    await page.locator(".mark.you").click()

    why = page.locator("#why")
    await expect(why.locator(".quote")).to_have_text("“I hate you”")
    await expect(why.locator(".shares dt")).to_have_text(
        [re.compile(name) for name in ("dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline")]
    )
    await expect(why.locator(".shares dd.of-cortisol .number")).to_have_text(re.compile(r"^\+\d"))
    await expect(why.locator(".shares dd.of-cortisol .parts")).to_contain_text("tension")
    await expect(why).to_contain_text("Half of what is left is gone in")
    await expect(page.locator(".message.you.selected")).to_have_count(1)

    await why.get_by_role("button", name="Which words did it?").click()
    await expect(why.locator(".heard").first.locator("mark")).to_have_text(["I", "hate", "you"])
    await expect(why.locator(".heard").first).to_have_text("I hate you")
    await expect(why).to_contain_text("“I” did it.")


async def test_words_are_marked_by_characters_and_not_by_code_units(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("💛💛 I hate 🌧 mondays")
    await page.locator(".mark.you").click()

    await page.get_by_role("button", name="Which words did it?").click()

    await expect(page.locator(".heard").first).to_have_text("💛💛 I hate 🌧 mondays")
    await expect(page.locator(".heard").first.locator("mark")).to_have_text(["💛💛", "I", "hate", "🌧", "mondays"])


async def test_arrow_keys_go_along_the_timeline(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("one")
    await guest.say("two")
    chart = page.get_by_role("listbox")
    await expect(page.get_by_role("option")).to_have_count(4)

    await chart.focus()
    await page.keyboard.press("ArrowLeft")
    await expect(chart).to_have_attribute("aria-activedescendant", re.compile("^mark-"))
    await expect(page.get_by_role("option", selected=True)).to_have_accessible_name(re.compile("reply; Hello there."))
    await page.keyboard.press("ArrowLeft")
    await expect(page.get_by_role("option", selected=True)).to_have_accessible_name(re.compile("you; two; joy"))
    await page.keyboard.press("Home")
    await expect(page.locator("#why .quote")).to_have_text("“one”")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#why")).to_contain_text("Replies are not felt")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("option", selected=True)).to_have_count(0)
    await expect(page.locator(".contribution")).to_have_count(2)


async def test_a_turn_on_a_timeline_that_was_left_is_explained_as_it_stood_there(
    page_house: PageHouse, guest: Visit
) -> None:
    page = guest.page
    await guest.say("I hate you")
    await page.get_by_role("button", name="Edit").click()
    await page.get_by_label("Your words").fill("I like you")
    await page.get_by_label("Your words").press("Enter")
    await expect(page.locator(".mark.left.you")).to_have_count(1)

    await page.locator(".mark.left.you").click()

    await expect(page.locator("#why .chosen")).to_contain_text("on a timeline that was left")
    await expect(page.locator("#why .shares dd.of-cortisol .number")).to_have_text(re.compile(r"^\+\d"))


async def test_the_chart_has_a_table_that_says_the_same(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("I hate you")
    await page.locator("summary").first.click()
    table = page.locator("#timeline-table table")

    await expect(table.locator("thead th")).to_have_text(
        ["When", "Said", "dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline"]
    )
    await expect(table.locator("tbody tr")).to_have_count(3)
    assert float(await table.locator("tbody tr").first.locator("td").nth(3).inner_text()) > 31.0

    await page.get_by_role("button", name="Moods").click()
    await expect(table.locator("thead th")).to_have_text(
        ["When", "Said", "contentment", "attachment", "unease", "drive"]
    )
    await expect(page.locator(".row .name")).to_have_text(["contentment", "attachment", "unease", "drive"])


async def test_pointing_at_a_moment_reads_the_levels_there(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("I hate you")
    await expect(page.locator(".mark")).to_have_count(2)
    value = page.locator("[data-row=cortisol] .value")
    now = float(await value.text_content() or "nan")

    box = await page.locator(".chart").first.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + 95, box["y"] + 60)

    await expect(page.locator(".readout")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    await page.mouse.move(10, 10)
    await expect(page.locator(".readout")).to_have_text("")
    assert abs(float(await value.text_content() or "nan") - now) < 0.5


SCALE_LAWS = """async () => {
  const { timeScale, LINGER_MS } = await import("/page/js/scale.js");
  let seed = 7;
  const random = () => ((seed = (seed * 48271) % 2147483647) / 2147483647);
  const broken = [];
  for (let round = 0; round < 300; round++) {
    const width = 100 + random() * 900;
    const now = 1.7e12 + random() * 1e9;
    const stops = Array.from({ length: Math.floor(random() * 40) }, () => now - random() ** 4 * 40 * 86400e3);
    const scale = timeScale(stops, now, width);
    const moments = [...stops, now, ...Array.from({ length: 40 }, () => now - random() * 40 * 86400e3)].sort((a, b) => a - b);
    const places = moments.map(scale.x);
    if (Math.abs(scale.x(now) - width) > 1e-6) broken.push("the end");
    if (stops.length && Math.abs(scale.x(Math.min(...stops))) > 1e-6) broken.push("the beginning");
    if (places.some((x, i) => !(x >= 0 && x <= width + 1e-6) || (i > 0 && x < places[i - 1] - 1e-6))) broken.push("order");
    for (const stop of stops) if (Math.abs(scale.at(scale.x(stop)) - stop) > 5000 + 1e-3 * (now - stop)) broken.push("inverse");
    for (const part of scale.breaks) if (part.end - part.start < LINGER_MS / 2 - 1) broken.push("short break");
    const ticks = scale.ticks(74).map((tick) => tick.x);
    if (ticks.some((x, i) => i > 0 && x - ticks[i - 1] < 74)) broken.push("ticks");
  }
  return broken;
}"""


async def test_the_time_scale_keeps_order_and_ends(guest: Visit) -> None:
    assert await guest.page.evaluate(SCALE_LAWS) == []


async def test_events_are_read_whatever_their_pieces(guest: Visit) -> None:
    read: Any = await guest.page.evaluate(
        """async () => {
          const { eventsOf } = await import("/page/js/sse.js");
          const sent = ': keep-alive\\n\\nevent: delta\\ndata: {"text":"é💛"}\\n\\nevent: done\\r\\ndata: 1\\r\\n\\r\\n';
          const bytes = new TextEncoder().encode(sent);
          const found = [];
          for (let size = 1; size < 12; size++) {
            const pieces = [];
            for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
            const body = new ReadableStream({ start(sink) { pieces.forEach((one) => sink.enqueue(one)); sink.close(); } });
            const events = [];
            for await (const event of eventsOf({ body })) events.push(event);
            found.push(JSON.stringify(events));
          }
          return [...new Set(found)];
        }"""
    )

    assert read == ['[{"name":"delta","data":{"text":"é💛"}},{"name":"done","data":1}]']
