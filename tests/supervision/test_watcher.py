from __future__ import annotations

import io

from prometheus_client import REGISTRY

from limbic.supervision.watcher import StateChange, state_changes, watch


def event(name: str, process: str) -> str:
    """One event as supervisord sends it (supervisord.org/events.html)."""
    payload = f"processname:{process} groupname:{process} from_state:RUNNING pid:7"
    return f"ver:3.0 server:limbic serial:1 pool:watcher poolserial:1 eventname:{name} len:{len(payload)}\n{payload}"


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_events_are_read_and_acknowledged_one_by_one() -> None:
    stdout = io.StringIO()
    told = (
        event("PROCESS_STATE_RUNNING", "gateway") + event("TICK_5", "x") + event("PROCESS_STATE_EXITED", "affect-head")
    )

    changes = state_changes(io.StringIO(told), stdout)

    assert next(changes) == StateChange("gateway", "RUNNING")
    assert stdout.getvalue() == "READY\n"
    assert list(changes) == [StateChange("affect-head", "EXITED")]
    assert stdout.getvalue() == "READY\n" + "RESULT 2\nOKREADY\n" * 3


def test_what_becomes_of_a_process_is_counted() -> None:
    def exits(how: str) -> float:
        return sample("limbic_supervised_exits_total", process="living-llm", how=how)

    before = {how: exits(how) for how in ("exited", "failed", "stopped")}
    starts = sample("limbic_supervised_starts_total", process="living-llm")
    states = ["STARTING", "RUNNING", "EXITED", "STARTING", "BACKOFF", "STARTING", "RUNNING", "STOPPING", "STOPPED"]

    watch(iter([StateChange("living-llm", state) for state in states]), end=None)

    assert {how: exits(how) - count for how, count in before.items()} == {"exited": 1, "failed": 1, "stopped": 1}
    assert sample("limbic_supervised_starts_total", process="living-llm") - starts == 3
    assert sample("limbic_supervised_up", process="living-llm") == 0


def test_a_process_that_is_given_up_ends_all_where_it_should_and_only_one_of_ours() -> None:
    ended: list[str] = []

    watch(iter([StateChange("watcher", "FATAL"), StateChange("gateway", "RUNNING")]), lambda: ended.append("early"))
    assert ended == []
    assert sample("limbic_supervised_up", process="gateway") == 1

    watch(iter([StateChange("gateway", "FATAL")]), lambda: ended.append("gateway"))
    assert ended == ["gateway"]
    assert sample("limbic_supervised_given_up", process="gateway") == 1
    assert sample("limbic_supervised_up", process="gateway") == 0
