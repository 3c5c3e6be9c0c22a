"""The requests that front ends really send, one after the other, as their sources say (docs/front-ends.md)."""

from __future__ import annotations

from typing import Any

import httpx

from limbic.state.v1 import state_pb2
from tests.gateway.conftest import House

USER, ASSISTANT = state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT
Message = dict[str, Any]


async def post(http: httpx.AsyncClient, body: Message, **headers: str) -> Message:
    response = await http.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    answer: Message = response.json()
    return answer


def said_in(house: House, answer: Message, turn: str = "turn_id") -> list[str]:
    limbic = answer["limbic"]
    return [one.text for one in house.engine.path(limbic["session_id"], limbic[turn])]


class SillyTavern:
    """Builds what its server sends to a custom endpoint (src/endpoints/backends/chat-completions.js, source CUSTOM).

    The prompt (public/scripts/openai.js): main prompt, world info, persona and character as system messages, example dialogues as system
    messages with names, a line that starts the chat, the history with notes injected between its lines, and what stands behind it.
    """

    def __init__(self, greeting: str) -> None:
        self.chat: list[Message] = [{"role": "assistant", "content": greeting}]
        self.lore = "Mira has a cat."
        self.budget = 100

    def request(self, *, behind: str = "[Write one reply only.]") -> Message:
        history = list(self.chat[-self.budget :])
        # The author's note stands four lines from the end, wherever that is.
        history.insert(max(0, len(history) - 4), {"role": "system", "content": "[Author's note: it is raining]"})
        messages = [
            {"role": "system", "content": "Write Mira's next reply in a fictional chat between Mira and Ada."},
            {"role": "system", "content": self.lore},
            {"role": "system", "content": "Mira is a lighthouse keeper."},
            {"role": "system", "content": "[Example Chat]"},
            {"role": "system", "content": "Hi!", "name": "example_user"},
            {"role": "system", "content": "*waves* Oh, a guest.", "name": "example_assistant"},
            {"role": "system", "content": "[Start a new Chat]"},
            *history,
            {"role": "system", "content": behind},
        ]
        return {
            "messages": messages,
            "model": "limbic",
            "temperature": 1,
            "max_tokens": 300,
            "stream": False,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_p": 1,
            "top_k": 0,
            "stop": ["\nAda:"],
            "logit_bias": {},
            "seed": -1,
            "n": 1,
        }

    def says(self, text: str) -> None:
        self.chat.append({"role": "user", "content": text})

    def shows(self, text: str) -> None:
        self.chat.append({"role": "assistant", "content": text})


async def test_a_chat_in_sillytavern(house: House, http: httpx.AsyncClient) -> None:
    tavern = SillyTavern("*looks up* You are late, Ada.")
    key = {"Authorization": "Bearer st"}
    answers = []

    async def turn(reply: str, **changes: Any) -> Message:
        house.model.words = [reply]
        answers.append(await post(http, tavern.request(**changes), **key))
        return answers[-1]

    tavern.says("I know. I missed the boat.")
    first = await turn("*smiles* Sit down.  \n")
    # It trims what it shows, and its world info changes with the words.
    tavern.shows("*smiles* Sit down.")
    tavern.lore = "The boat goes twice a day."
    tavern.says("Are you angry?")
    second = await turn("Never.")
    # A swipe, then another one, of which the user keeps the second.
    swipe = await turn("A little.")
    tavern.shows("A little.")
    # It can go on, or write for the user: nobody says anything to the character then.
    await turn("But I forgive you.", behind="[Continue your last message without repeating its original content.]")
    tavern.chat[-1]["content"] = "A little. But I forgive you."
    tavern.says("Thank you.")
    third = await turn("Do not mention it.")
    # The user edits an earlier line of hers and goes on.
    tavern.shows("Do not mention it.")
    tavern.chat[1]["content"] = "I know. The boat was late."
    tavern.says("Shall we eat?")
    fourth = await turn("Yes.")

    assert {one["limbic"]["session_id"] for one in answers} == {first["limbic"]["session_id"]}
    assert second["limbic"]["turn_id"] == swipe["limbic"]["turn_id"]
    assert said_in(house, third)[-3:] == ["Are you angry?", "A little. But I forgive you.", "Thank you."]
    assert said_in(house, fourth)[:2] == ["*looks up* You are late, Ada.", "I know. The boat was late."]
    # Four times something was said; the edited line was only shown, and what follows it keeps what it made felt.
    level = fourth["limbic"]["state"]["levels"][0]["value"]
    assert level == 50.0 + 8.0 * 3
    assert third["limbic"]["state"]["levels"][0]["value"] == 50.0 + 8.0 * 3
    sampling = house.model.requests[0].sampling
    assert (sampling.max_tokens, list(sampling.stop), sampling.HasField("temperature")) == (300, ["\nAda:"], False)
    assert "example_assistant: *waves* Oh, a guest." in house.model.requests[0].persona


async def test_sillytavern_leaves_out_the_oldest_lines_of_a_long_chat(parts: House) -> None:
    await parts.start()
    tavern = SillyTavern("*looks up* You are late, Ada.")
    sessions, last = set(), {}
    for number in range(12):
        if number == 9:
            # And the gateway is started again.
            await parts.stop()
            await parts.start()
        tavern.budget = 100 if number < 5 else 6
        tavern.says(f"This is what I wanted to tell you, part {number}.")
        reply = f"And this is what I think of part {number}."
        parts.model.words = [reply]
        assert parts.service is not None
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{parts.service.http_port}") as http:
            last = await post(http, tavern.request())
        sessions.add(last["limbic"]["session_id"])
        tavern.shows(reply)

    assert len(sessions) == 1
    assert said_in(parts, last, "reply_turn_id") == [message["content"] for message in tavern.chat]
    assert len(parts.engine.stimuli()) == 12


async def test_a_group_chat_in_sillytavern(house: House, http: httpx.AsyncClient) -> None:
    """Every other member answers to what the one before has said: those requests end with the words of a character."""
    tavern = SillyTavern("Mira: Welcome, both of you.")
    tavern.says("Hello, you two.")
    house.model.words = ["Hello, Ada."]
    await post(http, tavern.request(behind="[Write the next reply only as Mira.]"))
    tavern.shows("Mira: Hello, Ada.")
    house.model.words = ["Hm."]
    other = await post(http, tavern.request(behind="[Write the next reply only as Tom.]"))
    tavern.shows("Tom: Hm.")
    tavern.says("Tom, be nice.")
    answer = await post(http, tavern.request(behind="[Write the next reply only as Tom.]"))

    assert other["limbic"]["turn_id"] is None
    assert [message.text for message in house.model.requests[1].messages][-1] == "[Write the next reply only as Tom.]"
    assert said_in(house, answer)[1:] == ["Hello, you two.", "Mira: Hello, Ada.", "Tom: Hm.", "Tom, be nice."]
    assert answer["limbic"]["state"]["levels"][0]["value"] == 50.0 + 8.0 * 2


async def test_a_chat_in_open_webui_with_its_own_questions(house: House, http: httpx.AsyncClient) -> None:
    """backend/open_webui/routers/openai.py sends the chat, routers/tasks.py one message of its own."""
    forwarded = {
        "X-OpenWebUI-User-Name": "Ada%20Lovelace",
        "X-OpenWebUI-User-Id": "7f2a",
        "X-OpenWebUI-Chat-Id": "0b4f6f0e-5d8b-4c55-9f7e-2f6f5d2c1a11",
    }
    chat: list[Message] = [{"role": "user", "content": "I was promoted today!"}]
    first = await post(http, {"model": "limbic", "messages": chat, "stream": False}, **forwarded)
    title = await post(
        http,
        {
            "model": "limbic",
            "messages": [
                {
                    "role": "user",
                    "content": "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.",
                }
            ],
            "stream": False,
            "max_completion_tokens": 1000,
        },
        **forwarded,
    )
    chat += [{"role": "assistant", "content": "Hello there."}, {"role": "user", "content": "Are you not glad?"}]
    second = await post(http, {"model": "limbic", "messages": chat, "stream": False}, **forwarded)

    assert first["limbic"]["session_id"] == second["limbic"]["session_id"]
    assert said_in(house, second) == ["I was promoted today!", "Hello there.", "Are you not glad?"]
    assert title["limbic"]["affect"] is None
    assert list(house.model.requests[1].expression.levels) == []
    assert house.model.requests[1].persona == ""
    assert len(house.engine.stimuli()) == 2
    assert len(house.engine.tips) == 1


async def test_a_conversation_in_open_llm_vtuber_that_is_interrupted(house: House, http: httpx.AsyncClient) -> None:
    """agents/basic_memory_agent.py: what was heard of a reply, three dots, and a message that says so."""
    system = {
        "role": "system",
        "content": "You are Mili.\n\nIf you received `[interrupted by user]` signal, you were interrupted.",
    }
    memory: list[Message] = [{"role": "user", "content": "Tell me a story."}]
    body = {"model": "limbic", "stream": True, "temperature": 1.0, "tools": []}
    headers = {"Authorization": "Bearer z", "OpenAI-Organization": "z", "OpenAI-Project": "z"}
    house.model.words = ["Once ", "upon ", "a time"]
    streamed = await http.post("/v1/chat/completions", json={**body, "messages": [system, *memory]}, headers=headers)
    memory += [
        {"role": "assistant", "content": "Once upon..."},
        {"role": "user", "content": "[Interrupted by user]"},
        {"role": "user", "content": "No, a happy one!", "name": "Ada", "avatar": "ada.png"},
    ]
    answer = await post(http, {**body, "stream": False, "messages": [system, *memory]}, **headers)

    assert streamed.status_code == 200
    assert said_in(house, answer) == ["Tell me a story.", "Once upon...", "[Interrupted by user]", "No, a happy one!"]
    assert answer["limbic"]["state"]["levels"][0]["value"] == 50.0 + 8.0 * 2


async def test_open_llm_vtuber_is_told_to_leave_its_tools_out(http: httpx.AsyncClient) -> None:
    response = await http.post(
        "/v1/chat/completions",
        json={
            "model": "limbic",
            "messages": [{"role": "user", "content": "What time is it?"}],
            "stream": True,
            "tools": [{"type": "function", "function": {"name": "get_time", "parameters": {}}}],
        },
    )

    assert response.status_code == 400
    assert "does not support tools" in response.json()["error"]["message"]
