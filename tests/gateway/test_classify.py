"""What SillyTavern's expressions ask, in the very requests of its page (public/scripts/extensions/expressions/index.js)."""

from __future__ import annotations

import httpx
import pytest

from gateway.ports import BackendFailure
from limbic.affect.v1 import affect_pb2
from tests.gateway.conftest import House
from training.outputs import EMOTIONS

PAGE = "http://127.0.0.1:8000"
BYPASS = {"Bypass-Tunnel-Reminder": "bypass", "origin": PAGE}
"""What connectToApi and getExpressionsList send."""
CLASSIFY = {"Content-Type": "application/json", "Bypass-Tunnel-Reminder": "bypass", "origin": PAGE}
"""What getExpressionLabel sends."""

DEFAULT_EXPRESSIONS = (
    "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval disgust "
    "embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization relief remorse sadness "
    "surprise neutral"
)
"""Of SillyTavern's expressions; it has talkinghead besides, which is no expression."""


async def test_its_page_connects_learns_the_labels_and_asks(house: House, http: httpx.AsyncClient) -> None:
    house.head.reading = affect_pb2.AffectReading(
        emotions=[
            affect_pb2.Emotion(label="joy", probability=0.2),
            affect_pb2.Emotion(label="sadness", probability=0.7, active=True),
        ]
    )

    modules = await http.get("/api/modules", headers=BYPASS)
    labels = await http.get("/api/classify/labels", headers=BYPASS)
    found = await http.post("/api/classify", json={"text": "I will miss you."}, headers=CLASSIFY)

    assert "classify" in modules.json()["modules"]
    assert labels.json() == {"labels": ["joy", "sadness"]}
    assert found.json() == {
        "classification": [{"label": "sadness", "score": 0.7}, {"label": "joy", "score": 0.2}],
    }
    assert [one.headers["access-control-allow-origin"] for one in (modules, labels, found)] == [PAGE] * 3
    assert house.head.requests[0].text == "I will miss you."
    assert house.engine.facts == []


async def test_browsers_may_ask_with_its_headers(http: httpx.AsyncClient) -> None:
    for path, method in (("/api/modules", "GET"), ("/api/classify/labels", "GET"), ("/api/classify", "POST")):
        preflight = await http.options(
            path,
            headers={
                "origin": PAGE,
                "access-control-request-method": method,
                "access-control-request-headers": "authorization,bypass-tunnel-reminder,content-type",
            },
        )

        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "bypass-tunnel-reminder" in preflight.headers["access-control-allow-headers"]


async def test_the_pages_own_api_stays_closed_to_other_origins(http: httpx.AsyncClient) -> None:
    response = await http.get("/api/sessions/ada", headers={"origin": PAGE})

    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("body", [{}, {"text": None}, {"text": ""}, {"text": " \n"}, {"text": 5}, {"text": "a\x00b"}])
async def test_what_is_no_text_is_refused(house: House, http: httpx.AsyncClient, body: dict[str, object]) -> None:
    response = await http.post("/api/classify", json=body, headers=CLASSIFY)

    assert response.status_code == 400
    assert house.head.requests == []


async def test_of_a_long_text_the_end_is_read(house: House, http: httpx.AsyncClient) -> None:
    await http.post("/api/classify", json={"text": "x" * 9_000 + " the end"}, headers=CLASSIFY)

    (asked,) = house.head.requests
    assert (len(asked.text), asked.text[-8:]) == (8_000, " the end")


async def test_without_a_head_it_says_when_to_ask_again(house: House, http: httpx.AsyncClient) -> None:
    house.head.failure = BackendFailure("RESOURCE_EXHAUSTED", "QUEUE_FULL", retry_after=2.0)

    answers = [
        await http.post("/api/classify", json={"text": "hello"}, headers=CLASSIFY),
        await http.get("/api/classify/labels", headers=BYPASS),
    ]

    assert [(one.status_code, one.headers["retry-after"]) for one in answers] == [(503, "2")] * 2
    assert {one.json()["error"]["reason"] for one in answers} == {"HEAD_UNAVAILABLE"}


def test_the_heads_labels_are_its_expressions() -> None:
    assert set(EMOTIONS) == set(DEFAULT_EXPRESSIONS.split())
