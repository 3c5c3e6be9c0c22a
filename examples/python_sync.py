"""A game without a language model: its events are felt, and the levels steer what the character does.

python examples/python_sync.py [--session NAME] [--state-engine HOST:PORT]
"""

import argparse
import sys
from datetime import UTC, datetime, timedelta

from limbic.client import STATE_ENGINE, CallError, SyncStateEngineClient, event
from limbic.state.v1 import state_pb2

MOODS = {state_pb2.BAND_RISING: "tense", state_pb2.BAND_SURGING: "alarmed"}


def play(engine: SyncStateEngineClient, session: str) -> None:
    """Have something happen, look at the character, and look back."""
    engine.create_session(session, temperament="volatile")
    engine.record_turn(session, "ambush", "Wolves come out of the wood.", stimuli=[event("stress", "wolves")])
    state = engine.get_state(session)
    cortisol = next(level for level in state.levels if level.name == "cortisol")
    print(f"cortisol {cortisol.value:.1f}: {MOODS.get(cortisol.band, 'calm')}")

    # The same evening in another world: there they were tame.
    with_friends = engine.fork(session, turn_id="ambush", new_session_id=f"{session}-tame").session.session_id
    engine.retract_stimulus(with_friends, "wolves")
    tame = engine.get_state(with_friends)
    print(f"and had they been tame: {next(one.value for one in tame.levels if one.name == 'cortisol'):.1f}")

    # An hour from now, if nothing else happens: a state is a law, so that it can be asked for any moment that has come.
    with engine.replay(session, temperament="steady", moments=[datetime.now(UTC) - timedelta(seconds=1)]) as points:
        for point in points:
            there = next(one.value for one in point.replayed.levels if one.name == "cortisol")
            print(f"a steady character a second ago: {there:.1f}")


def main() -> int:
    """Run it; the exit status is 1 where a call failed."""
    parser = argparse.ArgumentParser(description="A game's events, felt.")
    parser.add_argument("--session", default="ranger")
    parser.add_argument("--state-engine", default=STATE_ENGINE)
    arguments = parser.parse_args()
    with SyncStateEngineClient(arguments.state_engine) as engine:
        try:
            play(engine, arguments.session)
        except CallError as error:
            print(f"{error} ({error.reason or error.code.name}, field: {error.field or 'none'})", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
