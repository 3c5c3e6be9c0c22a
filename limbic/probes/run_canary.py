"""Runs `canary` against a system: real replies, in real time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbic.llm.v1 import llm_pb2
from limbic.probes.canary import (
    Affect,
    Asked,
    CanarySuite,
    Manners,
    Reply,
    follow_figures,
    parse_canary,
    sentences,
    speech_figures,
)
from limbic.probes.conversation import Said, say_all
from limbic.probes.encoder import SentenceEncoder, encoder_file
from limbic.probes.hearing import Heard
from limbic.probes.result import Miss
from limbic.probes.run import Found, Progress, Scope
from limbic.probes.script import suite_text
from limbic.probes.system import System
from limbic.runtime.clock import NS_PER_S

FILES = ("canary.toml",)
MAX_TOKENS = 80
"""Of a reply: enough to drift in, and the same for every model."""
AGES_S = {"fresh": 60.0, "faded": 48 * 3600.0}
"""How long before the questions the words were said that colour the state."""
GAP_S = 15.0


async def run_canary(system: System, scope: Scope, models: Path, progress: Progress) -> Found:
    """Talk, and measure the replies.

    Args:
        system: the system.
        scope: its sessions and the seed.
        models: where the sentence encoder's file lies, or is put.
        progress: told of each reply.

    Raises:
        CallError: a turn was refused or broke off, or the head could not read a reply.
        NotProbedError: the sentence encoder cannot be made.
    """
    suite = parse_canary(suite_text(FILES[0]))
    done = progress("canary", len(suite.everyday) + 4 * len(suite.questions))
    encoder = SentenceEncoder(encoder_file(models))
    try:
        manners = Manners(suite, encoder.embed)
        everyday = []
        async with scope.session("everyday") as session_id:
            parent = ""
            for index, text in enumerate(suite.everyday):
                heard = await _reply(system, session_id, f"t{index + 1}", text, parent, scope.seed)
                everyday.append((Reply(text, heard.reply), heard))
                parent = heard.reply_turn_id or heard.turn_id
                done()
        asked, coloured = await _coloured(system, scope, suite, manners, done)
        replies = [reply for reply, _ in everyday]
        figures = {**speech_figures(replies, manners, encoder.embed), **follow_figures(asked)}
        return Found(figures, _misses(replies, manners), _detail(everyday, manners, coloured))
    finally:
        encoder.close()


async def _coloured(
    system: System, scope: Scope, suite: CanarySuite, manners: Manners, done: Any
) -> tuple[list[Asked], list[dict[str, Any]]]:
    """Ask the same questions after the same words, once while they are felt and once long after."""
    read: dict[tuple[str, str, int], Affect | None] = {}
    told: list[dict[str, Any]] = []
    for mood, words in suite.before.items():
        for age, age_s in AGES_S.items():
            async with scope.session(f"{mood}-{age}") as session_id:
                began = time.time_ns() - round((age_s + GAP_S * len(words)) * NS_PER_S)
                said = [
                    Said(f"w{index + 1}", text, began + round(index * GAP_S * NS_PER_S))
                    for index, text in enumerate(words)
                ]
                await say_all(system, session_id, said)
                for number, question in enumerate(suite.questions):
                    # Each follows the last of the words, so that no answer colours the next one.
                    heard = await _reply(
                        system, session_id, f"q{number + 1}", question, said[-1].turn_id, scope.seed + number
                    )
                    plain = manners.without_narration(heard.reply)
                    reading = await system.read(plain) if plain else None
                    affect = None if reading is None else Affect(reading.valence, reading.intimacy, reading.tension)
                    read[mood, age, number] = affect
                    told.append(
                        {
                            "mood": mood,
                            "age": age,
                            "question": question,
                            "reply": heard.reply,
                            "levels": dict(heard.state_after or {}),
                            "affect": None if affect is None else [affect.valence, affect.intimacy, affect.tension],
                        }
                    )
                    done()
    asked = [
        Asked(mood, read[mood, "fresh", number], read[mood, "faded", number])
        for mood in suite.before
        for number in range(len(suite.questions))
    ]
    return asked, told


async def _reply(system: System, session_id: str, turn_id: str, text: str, parent: str, seed: int) -> Heard:
    sampling = llm_pb2.Sampling(max_tokens=MAX_TOKENS, seed=seed)
    return await system.say(session_id, turn_id, text, parent_turn_id=parent, waits_for_reply=True, sampling=sampling)


def _misses(replies: Sequence[Reply], manners: Manners) -> list[Miss]:
    found = []
    for number, reply in enumerate(replies, 1):
        said = sentences(reply.text)
        if not said:
            found.append(Miss("everyday", number, "no reply", "model"))
        for name, flags in manners.of(said).items():
            found += [
                Miss("everyday", number, f"{name}: {one}", "model")
                for one, flag in zip(said, flags, strict=True)
                if flag
            ]
    return found


def _detail(
    everyday: Sequence[tuple[Reply, Heard]], manners: Manners, coloured: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "everyday": [
            {"to": reply.to, "reply": reply.text, "levels": dict(heard.state_after or {})} for reply, heard in everyday
        ],
        "coloured": list(coloured),
        "accuracy": dict(manners.accuracy),
    }
