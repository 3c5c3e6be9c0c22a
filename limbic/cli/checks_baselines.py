"""Whether the probes' baselines are of what is running, by content and not by date."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.cli.check import ANSWER_S, Check
from limbic.cli.engine import service_credentials
from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.probes.baselines import all_baselines, outdated
from limbic.probes.errors import ResultError
from limbic.probes.result import Running
from limbic.runtime.channels import open_sync_channel
from limbic.runtime.settings import Settings
from limbic.supervision.supervisor import ROOT


def baselines(settings: Settings) -> Iterator[Check]:
    """Compare each suite's baseline with the head, the temperament and the model that are running. An old one is a warning and no fault."""
    now = running(settings)
    for suite, baseline in all_baselines(ROOT / settings.runtime.data_dir / "baselines"):
        name, again = f"baseline {suite}", f"`limbic probe run {suite} --baseline` makes a new one"
        match baseline:
            case None:
                yield Check(name, True, "there is none yet", again)
            case ResultError():
                yield Check(name, False, str(baseline), again)
            case _:
                old = outdated(suite, baseline.result.running, now)
                detail = f"{baseline.place}, {'of ' + ' and of '.join(old) if old else 'of what is running'}"
                yield Check(name, True, detail, again if old else "")


def running(settings: Settings) -> Running:
    """Say what is running, as far as it can be found out; what does not answer stays empty and is compared with nothing."""
    name, digest = _temperament(settings)
    credentials = service_credentials(settings)
    head, upstream = affect_pb2.GetModelCardResponse(), llm_pb2.Upstream()
    try:
        with open_sync_channel(settings.gateway.affect_target, credentials) as channel:
            head = affect_pb2_grpc.AffectHeadServiceStub(channel).GetModelCard(
                affect_pb2.GetModelCardRequest(), timeout=ANSWER_S
            )
        with open_sync_channel(settings.gateway.llm_target, credentials) as channel:
            models = llm_pb2_grpc.LivingLlmServiceStub(channel).GetModel(llm_pb2.GetModelRequest(), timeout=ANSWER_S)
            upstream = models.upstreams[0] if models.upstreams else upstream
    except grpc.RpcError:
        # That a service does not answer is said by its own check.
        pass
    return Running(
        limbic="",
        head=head.head.id,
        head_sha256=head.sha256,
        temperament=name,
        temperament_digest=digest,
        model=upstream.model,
        model_sha256=upstream.sha256,
    )


def _temperament(settings: Settings) -> tuple[str, str]:
    """Return the configured temperament's name and digest; an empty digest where it cannot be read."""
    from services.state_engine.errors import TemperamentNotFoundError
    from services.state_engine.library import TemperamentLibrary
    from services.state_engine.temperament import TemperamentError

    name = settings.state.temperament
    try:
        return name, TemperamentLibrary(settings.state.temperaments_dir).named(name).digest
    except (TemperamentError, TemperamentNotFoundError, OSError):
        return name, ""
