"""A conversation from asyncio: the reply as it comes, the levels while they move, and what did it.

python examples/python_async.py "I got the job!" [--session NAME] [--gateway HOST:PORT] [--state-engine HOST:PORT]
"""

import argparse
import asyncio
import sys

from limbic.client import GATEWAY, STATE_ENGINE, CallError, LimbicClient
from limbic.gateway.v1 import gateway_pb2


async def watch(limbic: LimbicClient, session: str) -> None:
    """Say the levels whenever something moves them."""
    async with limbic.state_engine.watch_state(session, interval_s=60.0) as states:
        async for seen in states:
            levels = "  ".join(f"{level.name} {level.value:.1f}" for level in seen.state.levels)
            print(f"[{levels}]", file=sys.stderr)


async def converse(limbic: LimbicClient, text: str, session: str) -> None:
    """Take one turn, and say what became of it."""
    await limbic.state_engine.create_session(session)
    watching = asyncio.create_task(watch(limbic, session))
    async with limbic.turn(text, session_id=session) as turn:
        async for event in turn.events():
            match event:
                case gateway_pb2.AffectUpdate(status=status):
                    print(f"[{gateway_pb2.AffectStatus.Name(status)}]", file=sys.stderr)
                case gateway_pb2.Delta(text=said):
                    print(said, end="", flush=True)
                case gateway_pb2.Done(reply_turn_id=reply):
                    print(f"\n[reply {reply}]", file=sys.stderr)
    explained = await limbic.state_engine.explain(session, limit=3)
    for one in explained.contributions:
        largest = max(one.levels, key=lambda share: abs(share.value))
        print(f"[{largest.name} {largest.value:+.1f} by: {one.text}]", file=sys.stderr)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def main() -> int:
    """Run it; the exit status is 1 where a call failed."""
    parser = argparse.ArgumentParser(description="One turn of a conversation.")
    parser.add_argument("text")
    parser.add_argument("--session", default="ada-and-me")
    parser.add_argument("--gateway", default=GATEWAY)
    parser.add_argument("--state-engine", default=STATE_ENGINE)
    arguments = parser.parse_args()
    async with LimbicClient(arguments.gateway, arguments.state_engine) as limbic:
        try:
            await converse(limbic, arguments.text, arguments.session)
        except CallError as error:
            again = "" if error.retry_after is None else f"; try again in {error.retry_after:g} s"
            print(f"{error}{again}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
