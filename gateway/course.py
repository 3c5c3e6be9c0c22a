"""What both halves of a turn work with."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.background import Background
from gateway.events import TurnInput
from gateway.opening import Memory
from gateway.ports import Ports, TurnPolicy
from gateway.trace import Trace


@dataclass(frozen=True, slots=True)
class Course:
    """One turn and everything around it.

    Attributes:
        turn: what was asked for.
        ports: what it touches.
        policy: how turns behave.
        memory: what is remembered between turns.
        background: holds what goes on after it.
        trace: takes down what it does.
    """

    turn: TurnInput
    ports: Ports
    policy: TurnPolicy
    memory: Memory
    background: Background
    trace: Trace
