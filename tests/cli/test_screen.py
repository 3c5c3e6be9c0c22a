from __future__ import annotations

import pytest
from rich.console import Console

from limbic.affect.v1 import affect_pb2
from limbic.cli.screen import TurnScreen
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2


def state(value: float, band: state_pb2.Band.ValueType) -> state_pb2.State:
    return state_pb2.State(
        levels=[state_pb2.Level(name="oxytocin", value=value, baseline=50, band=band)],
        moods=[state_pb2.Mood(name="warmth", intensity=0.2)],
    )


RESPONSES = [
    gateway_pb2.TurnResponse(state=gateway_pb2.StateUpdate(state=state(50, state_pb2.BAND_STEADY))),
    gateway_pb2.TurnResponse(
        affect=gateway_pb2.AffectUpdate(
            status=gateway_pb2.AFFECT_STATUS_IN_WINDOW,
            reading=affect_pb2.AffectReading(valence=0.5),
            state=state(80, state_pb2.BAND_SURGING),
        )
    ),
    gateway_pb2.TurnResponse(delta=gateway_pb2.Delta(text="I am so ")),
    gateway_pb2.TurnResponse(delta=gateway_pb2.Delta(text="\x1b[31mglad.")),
    gateway_pb2.TurnResponse(done=gateway_pb2.Done()),
]


def drawn(responses: list[gateway_pb2.TurnResponse], width: int) -> str:
    console = Console(width=width, height=40, force_terminal=False)
    screen = TurnScreen(console)
    for response in responses:
        screen.take(response)
    with console.capture() as capture:
        console.print(screen)
    return capture.get()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_turn_shows_reply_levels_bands_moods_and_reading(width: int) -> None:
    said = drawn(RESPONSES, width)

    for part in ("I am so [31mglad.", "oxytocin", "80", "+30.0", "surging", "warmth +0.20", "valence +0.50"):
        assert part in said
    assert "steady" not in said
    assert all(len(line) <= width for line in said.splitlines())


def test_the_levels_stand_beside_the_reply_where_there_is_room() -> None:
    wide, narrow = drawn(RESPONSES, 120), drawn(RESPONSES, 60)

    assert any("glad." in line and "surging" in line for line in wide.splitlines())
    assert not any("glad." in line and "surging" in line for line in narrow.splitlines())


def test_before_the_first_words_the_state_is_there_already() -> None:
    assert "steady" in drawn(RESPONSES[:1], 100)


def test_a_degraded_state_says_so() -> None:
    update = gateway_pb2.StateUpdate(state=state(50, state_pb2.BAND_STEADY), degraded=True, reason="the engine is away")

    assert "degraded: the engine is away" in drawn([gateway_pb2.TurnResponse(state=update)], 100)
