"""A turn's events as the contract's messages."""

from __future__ import annotations

from gateway.events import AffectKnown, DeltaText, LateAffect, StateKnown, TraceRecord, TurnDone, TurnEvent
from gateway.telemetry import duration
from limbic.gateway.v1 import gateway_pb2


def turn_response(event: TurnEvent) -> gateway_pb2.TurnResponse:
    """Return the message for an event."""
    match event:
        case DeltaText():
            return gateway_pb2.TurnResponse(delta=gateway_pb2.Delta(text=event.text))
        case StateKnown():
            return gateway_pb2.TurnResponse(
                state=gateway_pb2.StateUpdate(
                    state=event.state, degraded=event.degraded, reason=event.reason, turn_id=event.turn_id
                )
            )
        case AffectKnown():
            return gateway_pb2.TurnResponse(
                affect=gateway_pb2.AffectUpdate(
                    status=event.status, reading=event.reading, state=event.state, reason=event.reason
                )
            )
        case LateAffect():
            return gateway_pb2.TurnResponse(
                late_affect=gateway_pb2.AffectUpdate(
                    status=event.status,
                    reading=event.reading,
                    state=event.state,
                    reason=event.reason,
                    lateness=duration(event.lateness_s),
                )
            )
        case TurnDone():
            return gateway_pb2.TurnResponse(
                done=gateway_pb2.Done(
                    trace=_trace(event.trace),
                    finish_reason=event.finish_reason,
                    usage=event.usage,
                    reply_turn_id=event.reply_turn_id,
                )
            )


def _trace(trace: TraceRecord) -> gateway_pb2.Trace:
    return gateway_pb2.Trace(
        trace_id=trace.trace_id,
        turn_id=trace.turn_id,
        session_id=trace.session_id,
        stages=[
            gateway_pb2.Stage(
                name=stage.name,
                start=duration(stage.start_s),
                duration=duration(stage.duration_s),
                status=stage.status,
                deadline=duration(stage.deadline_s) if stage.deadline_s > 0 else None,
                detail=stage.detail,
            )
            for stage in trace.stages
        ],
        degraded=bool(trace.degraded_reasons),
        degraded_reasons=trace.degraded_reasons,
        upstream=trace.upstream,
        model=trace.model,
        attempts=trace.attempts,
        omitted_messages=trace.omitted_messages,
    )
