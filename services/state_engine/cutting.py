"""From the picture of a session to that of a fork of it: one path, with what was felt on it, as if nothing else had ever been."""

from __future__ import annotations

from array import array
from itertools import compress

import numpy as np

from services.state_engine.picture import Picture
from services.state_engine.turn_tree import EVERY, NOWHERE


def cut_to(picture: Picture, turn_id: str) -> Picture:
    """Return what a fork at a turn begins with. The folds of whole paths are the same there."""
    path = _path(picture, picture.turn_ids.index(turn_id))
    numbers = np.full(picture.turns, NOWHERE, dtype=np.intc)
    numbers[path] = np.arange(len(path), dtype=np.intc)
    turn_ids = [picture.turn_ids[number] for number in path]
    depths = np.arange(len(path), dtype=np.intc)

    turns = numbers[np.frombuffer(picture.stimulus_turns[: picture.stimuli], dtype=np.intc)]
    stays = turns >= 0
    ids = [*compress(picture.stimulus_ids, stays.tolist())]
    there = {*ids}
    places = np.cumsum(stays) - 1
    on_path = {*turn_ids}
    unfelt = {one: turn for one, turn in picture.unfelt.items() if turn in on_path}
    retracted = [one for one in picture.retracted if one in there or one in unfelt]
    stimuli = len(ids) + len(unfelt)
    return Picture(
        revision=len(path) + stimuli + len(retracted) + len(picture.begins) + len(picture.ends),
        turns=len(path),
        turn_ids=turn_ids,
        parents=_array(depths - 1),
        depths=_array(depths),
        anchors=_array(depths - depths % EVERY),
        said_ns=array("q", [picture.said_ns[number] for number in path]),
        tip=turn_id,
        abandoned=(),
        rewinds={},
        stimuli=len(ids),
        stimulus_ids=ids,
        stimulus_turns=_array(turns[stays]),
        moments_ns=array("q", [*compress(picture.moments_ns, stays.tolist())]),
        latents=picture.latents[stays],
        gone=[int(places[number]) for number in picture.gone if stays[number]],
        retracted=retracted,
        unfelt=unfelt,
        begins=picture.begins,
        ends=picture.ends,
        folds={int(numbers[turn]): fold for turn, fold in picture.folds.items() if numbers[turn] >= 0},
    )


def _path(picture: Picture, number: int) -> list[int]:
    path = []
    while number != NOWHERE:
        path.append(number)
        number = picture.parents[number]
    path.reverse()
    return path


def _array(numbers: np.typing.NDArray[np.intc]) -> array[int]:
    return array("i", numbers.astype(np.intc).tobytes())
