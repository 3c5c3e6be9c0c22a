from __future__ import annotations

import json

from limbic.state.v1 import state_pb2
from tests.end_to_end.calls import ANSWER_S, Calls
from tests.end_to_end.stack import Stack, running_stack

CLI = ("-m", "limbic.cli")


async def test_chat_says_one_thing(stack: Stack, calls: Calls) -> None:
    await calls.until_well()
    done = stack.python(*CLI, "chat", "--plain", "--once", "I am so glad that you are here.")

    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "state",
        "affect",
        "state",
        "reply",
        "done",
    ]
    for word in ("dopamine", "cortisol", "steady", "valence +", "confidence", "felt in time"):
        assert word in done.stdout


async def test_chat_reads_lines_from_a_pipe_and_continues_a_conversation(stack: Stack, calls: Calls) -> None:
    await calls.until_well()
    done = stack.python(*CLI, "chat", "--session", "piped", words="My name is Jo.\n\nWhat is my name?\n/state\n/quit\n")

    assert done.returncode == 0, done.stderr
    assert "Conversation piped." in done.stdout
    assert done.stdout.count("\nreply: ") == 2
    assert done.stdout.count("\ndone: ") == 2
    assert done.stdout.splitlines()[-1].startswith("dopamine ")
    said = [
        turn.text
        for turn in (
            await calls.state.ListTurns(state_pb2.ListTurnsRequest(session_id="piped"), timeout=ANSWER_S)
        ).turns
    ]
    assert said[::2] == ["My name is Jo.", "What is my name?"]


def test_chat_says_what_is_wrong_with_what_was_said(stack: Stack) -> None:
    done = stack.python(*CLI, "chat", "--once", "a" * 8_001)

    assert done.returncode == 1
    assert "text: must have at most 8,000 characters" in done.stderr
    assert "Traceback" not in done.stderr


async def test_doctor_finds_all_well(stack: Stack, calls: Calls) -> None:
    await calls.until_well()
    done = stack.python(*CLI, "doctor", "--json")
    report = json.loads(done.stdout)

    assert done.returncode == 0, done.stdout
    assert report["ok"]
    names = {check["name"] for check in report["checks"]}
    assert {"service gateway", "HTTP /readyz", "metrics living-llm", "model affect head", "journal", "disk"} <= names
    assert "All is well." in stack.python(*CLI, "doctor").stdout


async def test_doctor_says_what_to_do_about_a_part_that_hangs(stack: Stack, calls: Calls) -> None:
    await calls.until_well()
    with stack.held("affect-head"):
        done = stack.python(*CLI, "doctor", "--json")
    bad = [check for check in json.loads(done.stdout)["checks"] if not check["ok"]]

    assert done.returncode == 1
    (hanging,) = [check for check in bad if check["name"] == "service affect-head"]
    assert "runs, and does not answer" in hanging["detail"]
    assert all(check["remedy"] for check in bad)


def test_where_nothing_runs_the_commands_say_so() -> None:
    with running_stack(start=False) as stack:
        chat = stack.python(*CLI, "chat", "--once", "Hello?")
        doctor = stack.python(*CLI, "doctor")

    assert chat.returncode == 1
    assert "`make up` starts it" in chat.stderr
    assert doctor.returncode == 1
    assert "nothing listens" in doctor.stdout
