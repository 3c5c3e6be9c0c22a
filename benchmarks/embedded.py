"""What the embedded upstream does for conversations: `python -m benchmarks.embedded`.

Three measurements, in process. Two conversations that speak by turns, with and without room to keep what has been computed for them; how
long the model's thread is busy after a caller has gone; and the time to the first words with the state in front of the history instead
of behind it, which is why it stands behind. The tokens that had to be computed are exact; the times are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import rich
from rich.table import Table

from benchmarks._prompts import LINES
from limbic.runtime.models import ModelFile, find_model
from services.living_llm.composing import Composer
from services.living_llm.embedded import EmbeddedUpstream
from services.living_llm.formats import Transcript, WrittenPrompt
from services.living_llm.speech import Delta, Finished, Message, Role, Sampling, Speech, Started

PERSONA = "You are Ada, a warm and curious friend. You talk like a person in a chat: short, plain, honest."
STATES = ("Be warm and close.", "Be a little tense and careful.", "", "Be lively and curious; warm and close.")
SHORT = Sampling(0.0, 1.0, 0.0, 0.0, 16)
STATE_BYTES = 512 * 1024 * 1024
PROMPT = "Here is what I wrote down today. " + "Apples, pears and plums; bread, cheese and a bottle of milk. " * 60


class StateInFront(Transcript):
    """A transcript as the predecessor would have it: the state before all else, and after it what never changes."""

    def write(self, speech: Speech, history: Sequence[Message]) -> WrittenPrompt:
        """Write the transcript with the stage direction on its first line."""
        plain = super().write(Speech(speech.session_id, speech.persona, speech.messages, "", speech.sampling), history)
        return WrittenPrompt(f"({speech.state})\n{plain.text}", plain.control, plain.stops)


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds to the first words, and how many of the prompt's tokens had to be computed."""

    first_delta_s: float
    computed: int
    reply: str


async def make(file: ModelFile, threads: int, state_bytes: int, *, in_front: bool = False) -> EmbeddedUpstream:
    """Start an upstream."""
    upstream = EmbeddedUpstream(
        file,
        context_tokens=4096,
        threads=threads,
        queue=1,
        prompt_format="transcript",
        persona=PERSONA,
        session_state_bytes=state_bytes,
    )
    await upstream.start()
    model = upstream._model
    if in_front and model is not None:
        model.composer = Composer(StateInFront(), model.engine.vocabulary, model.engine.context_tokens)
    return upstream


async def say(upstream: EmbeddedUpstream, speech: Speech) -> Turn:
    """Make one reply."""
    began, first, text, computed = time.perf_counter(), 0.0, "", 0
    async for event in upstream.generate(speech):
        if isinstance(event, Delta):
            first = first or time.perf_counter() - began
            text += event.text
        elif isinstance(event, Finished):
            computed = event.usage.prompt_tokens - event.usage.cached_tokens
    return Turn(first, computed, text)


async def idle(upstream: EmbeddedUpstream) -> None:
    """Wait until the model's thread has nothing left to do, reading ahead included."""
    await asyncio.sleep(0)
    await asyncio.wrap_future(upstream._owner.submit(lambda: None))


async def converse(upstream: EmbeddedUpstream, conversations: int, turns: int) -> list[list[Turn]]:
    """Hold conversations that speak by turns, each with its own words and with a state that changes."""
    histories: list[list[Message]] = [[] for _ in range(conversations)]
    found: list[list[Turn]] = [[] for _ in range(conversations)]
    for number in range(turns):
        for each, history in enumerate(histories):
            history.append(Message(Role.USER, LINES[(number * conversations + each) % len(LINES)]))
            state = STATES[(number + each) % len(STATES)]
            turn = await say(upstream, Speech(f"c{each}", PERSONA, tuple(history), state, SHORT))
            await idle(upstream)
            history.append(Message(Role.ASSISTANT, turn.reply or "Yes."))
            found[each].append(turn)
    return found


async def sessions(file: ModelFile, threads: int, turns: int) -> None:
    """Measure two conversations by turns."""
    table = Table(title=f"Two conversations by turns, turn 2 to {turns} of each (median)")
    for column in ("kept for the other one", "tokens computed", "first delta, ms"):
        table.add_column(column, justify="right")
    for state_bytes in (STATE_BYTES, 0):
        upstream = await make(file, threads, state_bytes)
        later = [turn for each in await converse(upstream, 2, turns) for turn in each[1:]]
        await upstream.stop()
        table.add_row("up to 512 MiB" if state_bytes else "nothing", *_cells(later))
    rich.print(table)


async def position(file: ModelFile, threads: int, turns: int) -> None:
    """Measure one conversation with the state behind the history and in front of it."""
    table = Table(title=f"The state behind the history or in front of it, at turn 2 and at turn {turns}")
    for column in ("state", "turn", "tokens computed", "first delta, ms"):
        table.add_column(column, justify="right")
    for in_front in (False, True):
        upstream = await make(file, threads, 0, in_front=in_front)
        turns_of_it = (await converse(upstream, 1, turns))[0]
        await upstream.stop()
        for number in (2, turns):
            table.add_row("in front" if in_front else "behind", str(number), *_cells([turns_of_it[number - 1]]))
    rich.print(table)


async def cancellation(file: ModelFile, threads: int, times: int) -> None:
    """Measure how long the model's thread is busy after its caller has gone."""
    upstream = await make(file, threads, 0)
    rng = random.Random(0)
    table = Table(
        title=f"Until the model's thread is free after its caller has gone, {times} times each (milliseconds)"
    )
    for column in ("while", "p50", "p95", "longest", "longest, processor"):
        table.add_column(column, justify="left" if column == "while" else "right")
    for what in ("reading the prompt", "speaking"):
        found, spent = [], []
        for number in range(times):
            # Another beginning each time, so that nothing is known of it.
            text = f"{number}: {PROMPT}" if what == "reading the prompt" else f"{number}: {LINES[number % len(LINES)]}"
            speech = Speech("", f"{number} {PERSONA}", (Message(Role.USER, text),), "", Sampling(1.0, 1.0, 0, 0, 400))
            async with aclosing(upstream.generate(speech)) as events:
                async for event in events:
                    if isinstance(event, Started if what == "reading the prompt" else Delta):
                        break
                await asyncio.sleep(rng.uniform(0.0, 0.2) if what == "reading the prompt" else 0.0)
                began, began_cpu = time.perf_counter(), time.process_time()
            await idle(upstream)
            found.append((time.perf_counter() - began) * 1e3)
            # Of all threads together: what is computed in vain, whatever else the machine does.
            spent.append((time.process_time() - began_cpu) * 1e3)
        quantiles = statistics.quantiles(found, n=20, method="inclusive")
        cells = (statistics.median(found), quantiles[18], max(found), max(spent))
        table.add_row(what, *(f"{cell:.1f}" for cell in cells))
    await upstream.stop()
    rich.print(table)


def _cells(turns: Sequence[Turn]) -> tuple[str, str]:
    return (
        f"{statistics.median(turn.computed for turn in turns):.0f}",
        f"{statistics.median(turn.first_delta_s for turn in turns) * 1e3:.0f}",
    )


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", help="a name in limbic/models.toml, or a .gguf file"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=20, help="turns of each conversation")
    parser.add_argument("--times", type=int, default=30, help="cancellations of each kind")
    parser.add_argument("--only", choices=["sessions", "position", "cancellation"], help="one of the three")
    arguments = parser.parse_args()
    file = find_model(arguments.model)
    rich.print(f"{file.name}, {arguments.threads} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for measure, count in ((sessions, arguments.turns), (position, arguments.turns), (cancellation, arguments.times)):
        if arguments.only in (None, measure.__name__):
            asyncio.run(measure(file, arguments.threads, count))


if __name__ == "__main__":
    main()
