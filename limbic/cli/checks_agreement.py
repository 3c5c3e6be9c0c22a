"""Checks of `limbic doctor` on whether the parts agree: on their contracts, and on the time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import psycopg
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from limbic.cli.check import ANSWER_S, Check
from limbic.runtime.channels import open_sync_channel
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.settings import Settings
from limbic.runtime.validate import FUTURE_TOLERANCE_NS
from limbic.supervision.processes import PROCESSES, Process

MAX_SKEW_S = FUTURE_TOLERANCE_NS / NS_PER_S
"""The state engine takes no fact that lies further in the future: a clock that is ahead by more loses readings."""


def contracts(settings: Settings, serving: list[str]) -> Iterator[Check]:
    """Compare the contract that each process shows by reflection with the one of this program."""
    for process in PROCESSES:
        if process.name not in serving:
            continue
        name = f"contract {process.name}"
        try:
            theirs = _shown_contract(process.local(settings), process)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                yield Check(name, True, "not shown (LIMBIC_RUNTIME__REFLECTION)")
            else:
                yield Check(name, False, f"no answer ({error.code().name})", "`make logs` may say why")
            continue
        except DecodeError:
            yield Check(name, False, "what it shows is no contract", "`make restart`")
            continue
        same = theirs == _own_contract(process.service)
        detail = "the same as this program's" if same else "another version than this program's"
        remedy = (
            "" if same else "the code was changed after the process was started, or is another here: `make restart`"
        )
        yield Check(name, same, detail, remedy)


def _shown_contract(address: str, process: Process) -> descriptor_pb2.FileDescriptorProto:
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=process.service)
    with open_sync_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answer = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=ANSWER_S)))
    files = answer.file_descriptor_response.file_descriptor_proto
    return descriptor_pb2.FileDescriptorProto.FromString(files[0] if files else b"")


def _own_contract(service: str) -> descriptor_pb2.FileDescriptorProto:
    own = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindServiceByName(service).file.CopyToProto(own)
    return own


def database(url: str) -> Iterator[Check]:
    """Ask a PostgreSQL journal whether it is there, and compare its clock with ours."""
    try:
        with psycopg.connect(url, connect_timeout=round(ANSWER_S)) as connection:
            before = time.time()
            row = connection.execute(
                "SELECT extract(epoch FROM clock_timestamp())::float8, pg_is_in_recovery()"
            ).fetchone()
            after = time.time()
            version = connection.info.server_version // 10_000
    except psycopg.Error as error:
        # The driver's text may hold the address, and with it a password.
        remedy = "is the server up, and may this user come in? LIMBIC_STATE__JOURNAL_URL names it"
        yield Check("journal", False, f"PostgreSQL does not answer ({type(error).__name__})", remedy)
        return
    theirs, standby = row if row is not None else (before, False)
    detail = f"PostgreSQL {version}" + (", a standby, which cannot be written" if standby else ", can be written")
    yield Check("journal", not standby, detail, "name the primary in LIMBIC_STATE__JOURNAL_URL" if standby else "")
    skew_s = max(before - theirs, theirs - after, 0.0)
    fine = skew_s <= MAX_SKEW_S
    remedy = "" if fine else "set both clocks by NTP: moments are compared across machines"
    yield Check("clock", fine, f"{skew_s:.1f} s from the database's", remedy)
