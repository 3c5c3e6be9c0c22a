"""What the character feels where nobody says anything to it: a front end lets it go on, or asks the model for a title."""

from __future__ import annotations

from gateway import trace as stages
from gateway.course import Course
from gateway.events import StateKnown
from gateway.ports import BackendFailure
from gateway.states import at_rest
from limbic.state.v1 import state_pb2


async def state_aside(course: Course, *, feels: bool) -> StateKnown:
    """Return the state at the end of the conversation, or one that says nothing if the reply is not to be coloured by it."""
    turn, memory = course.turn, course.memory
    stage = course.trace.begin("state", course.policy.state_deadline_s)
    if not feels:
        stage.end(stages.SKIPPED, "this is no reply of the character")
        return StateKnown("", state_pb2.State(session_id=turn.session_id), False, "")
    if turn.session_is_new:
        stage.end(stages.SKIPPED, "nothing has been felt yet")
        return StateKnown("", memory.states.baseline(turn.session_id), False, "")
    request = state_pb2.GetStateRequest(session_id=turn.session_id, turn_id=turn.parent_turn_id or "")
    try:
        state = await course.ports.state.get_state(request, course.policy.state_deadline_s)
    except BackendFailure as failure:
        reason = f"the state engine did not answer ({failure.label}); this is the last known state or the baseline"
        stage.end(stages.ERROR, reason)
        course.trace.degrade("state", failure.label, reason)
        known = memory.states.get(turn.session_id) or memory.states.baseline(turn.session_id)
        return StateKnown("", known, True, reason)
    stage.end()
    return StateKnown("", state if turn.parent_turn_id else at_rest(state), False, "")
