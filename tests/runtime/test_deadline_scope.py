from __future__ import annotations

import contextvars

from limbic.runtime.deadline import Deadline, current_deadline, deadline_scope


def test_a_scope_may_be_left_in_another_context_than_it_was_entered_in() -> None:
    """What a stream's generator does when its client went away: whoever collects it closes it."""
    scope = deadline_scope(Deadline(1.0))
    entered = contextvars.copy_context()

    entered.run(scope.__enter__)
    assert scope.__exit__(None, None, None) is False

    assert current_deadline() is None


def test_a_scope_ends_with_its_block() -> None:
    with deadline_scope(Deadline(1.0)) as deadline:
        assert current_deadline() is deadline

    assert current_deadline() is None
