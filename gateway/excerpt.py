"""How much of a long conversation the model is given, and where that begins. Pure.

A model's server knows the beginning of a prompt that it has computed before, and computes what follows it. If each turn gave the model
the latest N messages, every prompt of a long conversation would begin elsewhere, and each turn would be computed as a whole. So the
beginning must stay where it is for many turns. Nobody knows how far a turn is from the root without walking all the way, so the place
is chosen by the turns themselves: among the older half of the latest N, the person's message whose id has the smallest digest. The same
message is chosen again until it falls out of the N or a smaller one comes into their older half, which is about every N/8 turns; and a
gateway that has been restarted, or another one, chooses the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gateway.transcripts import Utterance
from limbic.state.v1 import state_pb2


def excerpt(path: Sequence[Utterance], limit: int) -> list[Utterance]:
    """Return the latest messages of a path: all of them if they are fewer than `limit`, else from `limit` down to half as many.

    Args:
        path: the latest messages on the path to a turn, oldest first, `limit` of them if there are that many.
        limit: at least 1.
    """
    latest = list(path[-limit:])
    if len(latest) < limit:
        return latest
    older = range(limit // 2)
    said = [index for index in older if latest[index].role == state_pb2.ROLE_USER] or list(older)
    return latest[min(said, key=lambda index: _digest(latest[index].turn_id)) :] if said else latest


def _digest(turn_id: str) -> bytes:
    return hashlib.blake2b(turn_id.encode(), digest_size=8).digest()
