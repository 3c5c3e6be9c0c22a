"""The OpenAI-compatible API with the real state engine behind it: its journal, its laws, its answers to what is told twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from limbic.runtime.channels import open_channel
from limbic.runtime.clock import SystemClock
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2, state_pb2_grpc
from services.state_engine.server import build_service
from tests.gateway.backend_servers import Backend
from tests.gateway.conftest import House


class RealHouse:
    """A gateway in front of a real state engine."""

    def __init__(self, house: House, state: Any) -> None:
        self.house = house
        self.state = state

    async def ask(self, *said: str, reply: str = "Hello there.") -> dict[str, Any]:
        """Send a conversation that the user begins, and return the `limbic` object."""
        assert self.house.service is not None
        self.house.model.words = [reply]
        messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
        url = f"http://127.0.0.1:{self.house.service.http_port}/v1/chat/completions"
        async with httpx.AsyncClient(timeout=60.0) as http:
            response = await http.post(url, json={"messages": messages}, headers={"x-limbic-session": "ada"})
        assert response.status_code == 200, response.text
        limbic: dict[str, Any] = response.json()["limbic"]
        assert limbic["degraded_reasons"] == []
        return limbic

    async def path(self, turn_id: str) -> list[state_pb2.Turn]:
        """Return the turns from the root to one."""
        request = state_pb2.ListTurnsRequest(session_id="ada", path_to_turn_id=turn_id, page_size=1_000)
        response = await self.state.ListTurns(request)
        return list(response.turns)

    async def contributions(self, turn_id: str) -> list[str]:
        """Return the stimuli of which a state is made, by id."""
        request = state_pb2.ExplainRequest(session_id="ada", turn_id=turn_id, limit=1_000)
        response = await self.state.Explain(request)
        return sorted(contribution.stimulus_id for contribution in response.contributions)


@pytest.fixture(params=[True, False], ids=["keeps text", "keeps no text"])
async def real(parts: House, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RealHouse]:
    await parts.engine_backend.stop()
    settings = StateSettings(journal_url=f"sqlite:///{tmp_path}/journal.sqlite3", keep_text=request.param)
    engine = Backend(build_service(settings, SystemClock()), f"{parts.directory}/real-state")
    await engine.start()
    await parts.start(state_target=engine.target)
    channel = open_channel(engine.target)
    yield RealHouse(parts, state_pb2_grpc.StateEngineServiceStub(channel))
    await channel.close(None)
    await parts.stop()
    await engine.stop()


async def test_two_swipes_an_edit_and_a_restart(real: RealHouse) -> None:
    first = await real.ask("I missed you", reply="And I you.")
    second = await real.ask("I missed you", "And I you.", "Did you?", reply="Yes.")
    swipe = await real.ask("I missed you", "And I you.", "Did you?", reply="Very much.")
    await real.house.stop()
    await real.house.start(state_target=f"unix:{real.house.directory}/real-state")
    again = await real.ask("I missed you", "And I you.", "Did you?", reply="Every day.")
    edit = await real.ask("I missed you", "And I you.", "Really?", reply="Really.")
    more = await real.ask("I missed you", "And I you.", "Did you?", "Very much.", "Good.", reply="So?")

    assert second["turn_id"] == swipe["turn_id"] == again["turn_id"]
    assert [one["affect"]["status"] for one in (first, second, swipe, again, edit, more)] == [
        "in_window",
        "in_window",
        "already_felt",
        "already_felt",
        "in_window",
        "in_window",
    ]
    replies = [(await real.path(one["reply_turn_id"]))[-1].parent_turn_id for one in (second, swipe, again)]
    assert replies == [second["turn_id"]] * 3
    assert (await real.path(edit["turn_id"]))[-1].parent_turn_id == first["reply_turn_id"]
    assert (await real.path(more["turn_id"]))[-1].parent_turn_id == swipe["reply_turn_id"]
    felt = await real.contributions(more["turn_id"])
    assert felt == sorted(f"{one['turn_id']}:reading" for one in (first, second, more))
    assert await real.contributions(edit["turn_id"]) == sorted(f"{one['turn_id']}:reading" for one in (first, edit))


async def test_an_imported_chat_is_one_path_in_its_order(real: RealHouse) -> None:
    lines = [f"line number {number}" for number in range(301)]

    answer = await real.ask(*lines)

    path = await real.path(answer["reply_turn_id"])
    assert len(path) == 302
    assert [one.parent_turn_id for one in path[1:]] == [one.turn_id for one in path[:-1]]
    assert await real.contributions(answer["turn_id"]) == [f"{answer['turn_id']}:reading"]


async def test_what_follows_an_edited_line_keeps_its_feelings_and_their_moments(real: RealHouse) -> None:
    await real.ask("one", reply="a")
    second = await real.ask("one", "a", "two", reply="b")
    third = await real.ask("one", "a", "two", "b", "three", reply="c")

    edited = await real.ask("one", "another a", "two", "b", "three", "c", "four")

    before, after = await real.path(third["turn_id"]), await real.path(edited["turn_id"])
    assert [turn.occurred_at for turn in after if turn.stimuli][:3] == [
        turn.occurred_at for turn in before if turn.stimuli
    ]
    assert [turn.stimuli[0].reading for turn in after if turn.stimuli][1:3] == [
        turn.stimuli[0].reading for turn in before if turn.stimuli
    ][1:]
    assert len(await real.contributions(edited["turn_id"])) == 4
    assert second["turn_id"] not in {turn.turn_id for turn in after}


async def test_words_that_were_imported_can_be_asked_about(real: RealHouse) -> None:
    await real.ask("one", "a", "two", reply="b")

    first = await real.ask("one", reply="another a")

    assert first["affect"]["status"] == "in_window"
    assert await real.contributions(first["turn_id"]) == [f"{first['turn_id']}:reading"]
