"""The service over real gRPC: readings, the card, streams, explanations, and what bad input is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import REGISTRY

from limbic.affect.v1 import affect_pb2 as pb
from limbic.runtime.errors import RpcFailure, failure_of
from limbic.runtime.server import RunningServer
from services.affect_head.server import MAX_EXPLAINED_WORDS, MAX_EXPLANATIONS
from tests.affect_head.gated_head import GatedHead
from tests.affect_head.tiny_head import EMOTIONS

if TYPE_CHECKING:
    from limbic.affect.v1.affect_pb2_grpc import AffectHeadServiceAsyncStub

TEXT = "i love you so much"


async def failure(call: Any) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return failure_of(caught.value)


async def test_a_reading_has_everything_in_its_range(stub: AffectHeadServiceAsyncStub) -> None:
    reading = (await stub.Classify(pb.ClassifyRequest(text=TEXT))).reading

    assert all(-1 <= value <= 1 for value in (reading.valence, reading.intimacy, reading.tension))
    sigma = reading.uncertainty
    assert all(0 < value < 10 for value in (sigma.valence, sigma.intimacy, sigma.tension))
    assert 0 < reading.confidence < 1
    assert [emotion.label for emotion in reading.emotions] == list(EMOTIONS)
    assert all(emotion.active == (emotion.probability >= 0.5) for emotion in reading.emotions)
    assert (reading.head.id, reading.head.quantization, reading.head.calibration) == ("tiny-random", "F32", "test-1")
    assert 0 < reading.latency.ToNanoseconds() < 10 * 10**9
    assert not reading.truncated
    assert reading.reasoning == ""


async def test_a_text_beyond_the_window_is_read_from_its_end_and_counted(stub: AffectHeadServiceAsyncStub) -> None:
    before = REGISTRY.get_sample_value("limbic_affect_truncated_total") or 0.0

    response = await stub.Classify(pb.ClassifyRequest(text="word " * 1_600))

    assert response.reading.truncated
    assert REGISTRY.get_sample_value("limbic_affect_truncated_total") == before + 1


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": " \n\t"}, "text"),
        ({"text": "a\x00b"}, "text"),
        ({"text": "\x01\x02\x7f"}, "text"),
        ({"text": "привет"}, "text"),
        ({"text": "x" * 8_001}, "text"),
        ({"text": TEXT, "context": ["a", "b", "c"]}, "context"),
        ({"text": TEXT, "context": ["a", ""]}, "context[1]"),
        ({"text": TEXT, "context": ["x" * 8_001]}, "context[0]"),
        ({"text": TEXT, "context": ["a\x00"]}, "context[0]"),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("method", ["Classify", "Explain", "ClassifyStream"])
async def test_bad_input_is_refused_with_the_field(
    stub: AffectHeadServiceAsyncStub, method: str, request_fields: dict[str, Any], field: str
) -> None:
    if method == "ClassifyStream":
        (response,) = await exchange(stub, pb.ClassifyStreamRequest(request_id="r", **request_fields))
        error = response.error
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "INVALID_ARGUMENT")
        assert error.message.startswith(f"{field}: ")
        return
    message = {"Classify": pb.ClassifyRequest, "Explain": pb.ExplainRequest}[method](**request_fields)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(stub, method)(message)
    status = rpc_status.from_call(cast(grpc.Call, caught.value))
    violations = error_details_pb2.BadRequest()
    assert any(detail.Unpack(violations) for detail in status.details)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in violations.field_violations] == [field]


async def test_text_in_another_encoding_is_refused_with_the_field(
    stub: AffectHeadServiceAsyncStub, server: RunningServer
) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        raw = channel.unary_unary("/limbic.affect.v1.AffectHeadService/Classify", bytes, bytes)
        refused = await failure(raw(b"\x0a\x02\xff\xfe"))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.metadata == {"field": "text"}


async def test_the_longest_texts_are_read(stub: AffectHeadServiceAsyncStub) -> None:
    request = pb.ClassifyRequest(text="!" * 8_000, context=["?" * 8_000, "é" * 8_000])

    assert (await stub.Classify(request)).reading.truncated


async def test_the_card_says_what_is_served(stub: AffectHeadServiceAsyncStub) -> None:
    card = await stub.GetModelCard(pb.GetModelCardRequest())

    assert card.head.id == "tiny-random"
    assert card.sha256 == "0" * 64
    assert [(entry.label, entry.threshold) for entry in card.emotions] == [(label, 0.5) for label in EMOTIONS]
    assert (card.context_turns, card.context_tokens) == (0, 512)
    assert (card.context_text_tokens, card.context_turn_tokens) == (512, 512)
    assert json.loads(card.provenance_json) == {"weights": "random"}


async def test_a_full_queue_is_refused_with_a_delay(gated_stub: AffectHeadServiceAsyncStub, gated: GatedHead) -> None:
    running = gated_stub.Classify(pb.ClassifyRequest(text="running"))
    await gated.until(gated.started, 1)
    others = [asyncio.ensure_future(failure_or_none(gated_stub, f"waiting {n}")) for n in range(3)]
    done, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)

    (refused,) = [task.result() for task in done]
    assert refused is not None
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert refused.retry_after is not None
    assert 0.01 <= refused.retry_after < 1
    assert refused.metadata == {"limit": "2"}
    gated.let_all_go()
    assert await asyncio.gather(*waiting) == [None, None]
    assert (await running).reading.head.id == "gated"


async def failure_or_none(stub: AffectHeadServiceAsyncStub, text: str) -> RpcFailure | None:
    try:
        await stub.Classify(pb.ClassifyRequest(text=text))
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    return None


async def test_a_caller_that_goes_away_frees_the_worker(
    gated_stub: AffectHeadServiceAsyncStub, gated: GatedHead
) -> None:
    gone = gated_stub.Classify(pb.ClassifyRequest(text="gone"))
    await gated.until(gated.started, 1)

    gone.cancel()
    await gated.until(gated.aborted, 1)
    gated.let_all_go()

    assert (await gated_stub.Classify(pb.ClassifyRequest(text="next"))).reading.head.id == "gated"
    assert gated.finished == ["next"]


async def test_a_deadline_frees_the_worker(gated_stub: AffectHeadServiceAsyncStub, gated: GatedHead) -> None:
    refused = await failure(gated_stub.Classify(pb.ClassifyRequest(text="slow"), timeout=0.2))

    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await gated.until(gated.aborted, 1)


async def sent(*requests: pb.ClassifyStreamRequest) -> AsyncIterator[pb.ClassifyStreamRequest]:
    for request in requests:
        yield request


def exchange(
    stub: AffectHeadServiceAsyncStub, *requests: pb.ClassifyStreamRequest
) -> asyncio.Future[list[pb.ClassifyStreamResponse]]:
    """Send requests on one stream and collect the answers."""

    async def collect() -> list[pb.ClassifyStreamResponse]:
        return [response async for response in stub.ClassifyStream(sent(*requests))]

    return asyncio.ensure_future(collect())


async def test_a_stream_answers_each_utterance_as_a_call_would_and_goes_on_after_errors(
    stub: AffectHeadServiceAsyncStub,
) -> None:
    texts = {f"r{number}": f"word {number}" for number in range(40)}
    requests = [pb.ClassifyStreamRequest(request_id=key, text=text) for key, text in texts.items()]
    requests[3:3] = [pb.ClassifyStreamRequest(request_id="bad"), pb.ClassifyStreamRequest(text="no id")]

    answers = {response.request_id: response for response in await exchange(stub, *requests)}

    assert set(answers) == {*texts, "bad", ""}
    assert answers["bad"].error.message.startswith("text: ")
    assert answers[""].error.message.startswith("request_id: ")
    for key, text in texts.items():
        alone = (await stub.Classify(pb.ClassifyRequest(text=text))).reading
        streamed = answers[key].reading
        for reading in (alone, streamed):
            reading.ClearField("latency")
        assert streamed == alone


async def test_a_stream_refuses_an_id_that_is_still_being_read(
    gated_stub: AffectHeadServiceAsyncStub, gated: GatedHead
) -> None:
    requests = [pb.ClassifyStreamRequest(request_id="same", text=f"text {number}") for number in range(2)]
    answers = aiter(gated_stub.ClassifyStream(sent(*requests)))

    refused = await anext(answers)
    gated.let_all_go()
    read = await anext(answers)

    assert refused.error.message.startswith("request_id: ")
    assert read.reading.head.id == "gated"


async def test_a_stream_that_is_cancelled_frees_the_worker(
    gated_stub: AffectHeadServiceAsyncStub, gated: GatedHead
) -> None:
    call = exchange(gated_stub, pb.ClassifyStreamRequest(request_id="r", text="gone"))
    await gated.until(gated.started, 1)

    call.cancel()

    await gated.until(gated.aborted, 1)


async def test_an_error_on_a_stream_carries_what_a_status_would(
    gated_stub: AffectHeadServiceAsyncStub, gated: GatedHead
) -> None:
    others = [asyncio.ensure_future(failure_or_none(gated_stub, f"other {n}")) for n in range(4)]
    await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)

    (response,) = await exchange(gated_stub, pb.ClassifyStreamRequest(request_id="r", text="shed"))

    assert response.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert response.error.reason == "QUEUE_FULL"
    assert response.error.retry_delay.ToNanoseconds() >= 10**7
    gated.let_all_go()
    await asyncio.gather(*others)


async def test_an_explanation_says_what_leaving_out_each_word_changes(stub: AffectHeadServiceAsyncStub) -> None:
    text = "ñ i love  😀 you, so much"

    explained = await stub.Explain(pb.ExplainRequest(text=text))

    assert [(word.word, word.offset) for word in explained.words] == [
        ("ñ", 0), ("i", 2), ("love", 4), ("😀", 10), ("you,", 12), ("so", 17), ("much", 20),
    ]  # fmt: skip
    for word in explained.words:
        rest = text[: word.offset] + text[word.offset + len(word.word) :]
        without = (await stub.Classify(pb.ClassifyRequest(text=rest))).reading
        for axis in ("valence", "intimacy", "tension"):
            # Both are the same bits as the readings themselves, so their difference is exact.
            assert getattr(word, axis) == getattr(explained.reading, axis) - getattr(without, axis)
    assert explained.sentence == explained.reading.reasoning
    assert explained.sentence.endswith(".")


async def test_a_single_word_is_explained_against_no_words_at_all(stub: AffectHeadServiceAsyncStub) -> None:
    explained = await stub.Explain(pb.ExplainRequest(text="hate"))

    (word,) = explained.words
    assert any(getattr(word, axis) != 0 for axis in ("valence", "intimacy", "tension"))


async def test_too_many_words_are_not_explained(stub: AffectHeadServiceAsyncStub) -> None:
    refused = await failure(stub.Explain(pb.ExplainRequest(text="a " * (MAX_EXPLAINED_WORDS + 1))))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.metadata == {"field": "text"}


async def test_explaining_never_delays_a_reading(gated_stub: AffectHeadServiceAsyncStub, gated: GatedHead) -> None:
    explanation = gated_stub.Explain(pb.ExplainRequest(text="explain this"))
    await gated.until(gated.started, 1)

    reading = gated_stub.Classify(pb.ClassifyRequest(text="urgent"))
    await gated.until(gated.started, 2)

    assert gated.started == ["explain this", "urgent"]
    assert gated.aborted == ["explain this"]
    gated.let_one_go()
    assert (await reading).reading.head.id == "gated"
    gated.let_all_go()
    assert [word.word for word in (await explanation).words] == ["explain", "this"]


async def test_explanations_are_bounded(gated_stub: AffectHeadServiceAsyncStub, gated: GatedHead) -> None:
    async def explain() -> RpcFailure | None:
        try:
            await gated_stub.Explain(pb.ExplainRequest(text="explain this"))
        except grpc.aio.AioRpcError as error:
            return failure_of(error)
        return None

    tasks = [asyncio.ensure_future(explain()) for _ in range(MAX_EXPLANATIONS + 1)]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    gated.let_all_go()

    (refused,) = [task.result() for task in done]
    assert refused is not None
    assert (refused.reason, refused.retry_after) == ("QUEUE_FULL", 1.0)
    assert await asyncio.gather(*others) == [None] * MAX_EXPLANATIONS
