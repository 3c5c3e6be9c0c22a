"""`limbic chat`: a conversation in the terminal, with the levels beside each reply, or as plain lines for pipes and tests."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from limbic.cli import words
from limbic.cli.engine import gateway_key, service_credentials, settings_or_exit
from limbic.cli.screen import TurnScreen
from limbic.client import CallError, SyncLimbicClient
from limbic.gateway.v1 import gateway_pb2
from limbic.supervision.processes import GATEWAY

REDRAWS_PER_S = 12


def chat(
    session: Annotated[str, typer.Option(help="Name of the conversation; the same name continues it.")] = "",
    once: Annotated[str, typer.Option(help="Say this, print the reply and end.")] = "",
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines; the default where this is no terminal.")] = False,
) -> None:
    """Talk to the character. /state shows its levels now, /quit ends; Ctrl-C breaks a reply off."""
    settings = settings_or_exit()
    gateway, state_engine = GATEWAY.local(settings), settings.gateway.state_target
    plain = plain or not sys.stdout.isatty() or (not once and not sys.stdin.isatty())
    session = session or f"chat-{secrets.token_hex(4)}"
    console = Console(highlight=False, markup=False)
    key, credentials = gateway_key(settings), service_credentials(settings)
    with SyncLimbicClient(gateway, state_engine, key=key, engine_credentials=credentials) as client:
        talk = _Talk(client, gateway, state_engine, session, None if plain else console)
        if once:
            fine = talk.say(once)
        else:
            console.print(f"Conversation {session}. /state shows the levels, /quit ends.")
            said = [talk.say(line) for line in _lines(console, plain)]
            fine = all(said)
    raise typer.Exit(0 if fine else 1)


class _Talk:
    """One conversation. With a console each turn is drawn as panels, without one it is printed as lines."""

    def __init__(
        self, client: SyncLimbicClient, gateway: str, state_engine: str, session: str, console: Console | None
    ) -> None:
        self._client = client
        self._gateway = gateway
        self._state_engine = state_engine
        self._session = session
        self._console = console

    def say(self, text: str) -> bool:
        """Say something, or do what a `/word` asks; return whether that worked. Ctrl-C breaks a reply off."""
        who = f"gateway at {self._gateway}"
        try:
            if text == "/state":
                who = f"state engine at {self._state_engine}"
                typer.echo(words.levels(self._client.state(self._session)))
            elif self._console is None:
                self._turn_in_lines(text)
            else:
                self._turn_on_screen(text, self._console)
        except CallError as error:
            typer.echo(f"error: {words.failure(error.failure, who)}", err=True)
            return False
        except KeyboardInterrupt:
            typer.echo("\n(broken off)")
        return True

    def _turn_on_screen(self, text: str, console: Console) -> None:
        screen = TurnScreen(console)
        with (
            self._client.turn(text, session_id=self._session) as responses,
            Live(screen, console=console, refresh_per_second=REDRAWS_PER_S, vertical_overflow="visible"),
        ):
            for response in responses:
                screen.take(response)

    def _turn_in_lines(self, text: str) -> None:
        in_reply = False
        with self._client.turn(text, session_id=self._session) as responses:
            try:
                for response in responses:
                    if response.WhichOneof("event") == "delta":
                        said = words.printable(response.delta.text)
                        typer.echo(said if in_reply else f"reply: {said}", nl=False)
                        in_reply = True
                        continue
                    for line in _as_lines(response):
                        typer.echo(f"\n{line}" if in_reply else line)
                        in_reply = False
            finally:
                if in_reply:
                    typer.echo()


def _as_lines(response: gateway_pb2.TurnResponse) -> Iterator[str]:
    """Yield the lines for everything but the reply's own words."""
    match response.WhichOneof("event"):
        case "state":
            yield f"state: {words.levels(response.state.state)}"
            if reason := words.degraded(response.state):
                yield reason
        case "affect" | "late_affect" as event:
            update: gateway_pb2.AffectUpdate = getattr(response, event)
            yield f"{event.replace('_', ' ')}: {words.affect(update)}"
            if update.HasField("state"):
                yield f"state: {words.levels(update.state)}"
        case "done":
            yield f"done: {words.ending(response.done)}"


def _lines(console: Console, plain: bool) -> Iterator[str]:
    """Yield what the person says, until the input ends or /quit."""
    while True:
        try:
            line = sys.stdin.readline() if plain else console.input("\nyou › ") + "\n"
        except (EOFError, KeyboardInterrupt):
            return
        if not line or line.strip() == "/quit":
            return
        if line.strip():
            yield line.strip()
