"""A session at one revision as columns: all that its fold has led to, in the form that a snapshot is written from and read into."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.state_engine.dynamics import Matrix
from services.state_engine.folds import Fold
from services.state_engine.tip import Rewound


@dataclass(frozen=True, slots=True)
class Picture:
    """See above. Taken at once and read elsewhere: the columns may have grown since, so that only their first entries belong to it.

    Attributes:
        revision: how many facts it takes in.
        turns: how many turns, with the root, which is number 0.
        turn_ids: the id of each turn.
        parents: the number of each turn's parent; -1 for the root.
        depths: how many turns stand before each on its path.
        anchors: the number of the last milestone on each turn's path.
        said_ns: when each turn was said, in nanoseconds since the epoch.
        tip: where the conversation stands, by id like all that follow.
        abandoned: the turns that rewinds have left behind.
        rewinds: the moves of the tip.
        stimuli: how many stimuli.
        stimulus_ids: the id of each stimulus.
        stimulus_turns: the number of the turn at which each was felt.
        moments_ns: when each happened.
        latents: each one's latent impulse, shape (stimuli, n).
        gone: the numbers of those that were taken back.
        retracted: the ids of all that were taken back.
        unfelt: those that were taken back before they came, with their turns.
        begins: when pauses began.
        ends: when pauses ended.
        folds: those of whole paths that are known, by the number of their turn.
    """

    revision: int
    turns: int
    turn_ids: Sequence[str]
    parents: array[int]
    depths: array[int]
    anchors: array[int]
    said_ns: array[int]
    tip: str
    abandoned: Sequence[str]
    rewinds: Mapping[str, Rewound]
    stimuli: int
    stimulus_ids: Sequence[str]
    stimulus_turns: array[int]
    moments_ns: array[int]
    latents: Matrix
    gone: Sequence[int]
    retracted: Sequence[str]
    unfelt: Mapping[str, str]
    begins: Mapping[str, int]
    ends: Mapping[str, int]
    folds: Mapping[int, Fold]
