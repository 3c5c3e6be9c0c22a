"""A front end against the real processes: the shipped head, the embedded model, the journal on disk."""

from __future__ import annotations

from typing import Any

import httpx
from openai import AsyncOpenAI

from limbic.runtime.channels import open_channel
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.end_to_end.calls import Calls
from tests.end_to_end.stack import Stack, eventually

COLD = "I never want to see you again. You disgust me."
WARM = "I love being with you, you make me so happy."


async def test_a_conversation_with_a_swipe_and_an_edit_is_felt_and_kept(stack: Stack, calls: Calls) -> None:
    await calls.until_well()
    url = f"http://{stack.settings.gateway.http}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=120.0) as front_end:

        async def ask(*said: str) -> tuple[str, Any]:
            messages: list[Any] = [
                {"role": ("user", "assistant")[at % 2], "content": one} for at, one in enumerate(said)
            ]
            completion: Any = await front_end.chat.completions.create(model="limbic", messages=messages, max_tokens=24)
            return completion.choices[0].message.content, completion.limbic

        _, first = await ask(COLD)
        reply, swipe = await ask(COLD)
        _, second = await ask(COLD, reply, "I mean it.")
        _, edit = await ask(WARM)

    async with open_channel(stack.settings.state.listen) as channel:
        state: Any = state_pb2_grpc.StateEngineServiceStub(channel)

        async def felt_at(limbic: Any) -> dict[str, float]:
            """Return what each utterance on the path adds to the cortisol, by stimulus."""
            request = state_pb2.ExplainRequest(session_id=limbic["session_id"], turn_id=limbic["turn_id"])
            explained: state_pb2.ExplainResponse = await state.Explain(request)
            return {
                one.stimulus_id: next(share.value for share in one.levels if share.name == "cortisol")
                for one in explained.contributions
            }

        async def both_felt() -> dict[str, float] | None:
            # On a busy machine a reading may be late; it is recorded all the same.
            felt = await felt_at(second)
            return felt if len(felt) == 2 else None

        cold = await eventually("both utterances are felt", both_felt)
        warm = await eventually("the edited one is felt", lambda: felt_at(edit))

    assert reply
    assert second["session_id"] == first["session_id"] != edit["session_id"]
    assert swipe["turn_id"] == first["turn_id"]
    assert set(cold) == {f"{first['turn_id']}:reading", f"{second['turn_id']}:reading"}
    assert set(warm) == {f"{edit['turn_id']}:reading"}
    assert cold[f"{first['turn_id']}:reading"] > 0 > warm[f"{edit['turn_id']}:reading"]


async def test_the_shipped_heads_emotions_are_sillytaverns_expressions(stack: Stack, calls: Calls) -> None:
    await calls.until_well()
    async with httpx.AsyncClient(base_url=f"http://{stack.settings.gateway.http}", trust_env=False) as http:
        labels = (await http.get("/api/classify/labels")).json()["labels"]
        found = (await http.post("/api/classify", json={"text": WARM})).json()["classification"]

    assert len(labels) == 28
    assert {one["label"] for one in found} == set(labels)
    assert found[0]["label"] in ("love", "joy")
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
