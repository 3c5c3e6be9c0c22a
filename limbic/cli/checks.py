"""The checks of `limbic doctor`, one function each. A check says what it found and, where that is bad, what to do."""

from __future__ import annotations

import os
import shutil
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx

from limbic.cli.check import ANSWER_S, Check
from limbic.cli.checks_agreement import contracts, database
from limbic.cli.checks_baselines import baselines
from limbic.cli.checks_feeds import feeds
from limbic.runtime.models import ModelFileError, find_model
from limbic.runtime.settings import Settings
from limbic.runtime.tls import client_context, face_certificates, read_secret, service_certificates
from limbic.supervision import procfs
from limbic.supervision.health import SERVING, UNREACHABLE, health_of, ready_over_http
from limbic.supervision.ports import is_free
from limbic.supervision.processes import PROCESSES, Address, addresses, reachable
from limbic.supervision.supervisor import ROOT, Supervisor

MIN_FREE_BYTES = 512 * 1024 * 1024
"""Below this much free disk the journal is in danger."""

_SQLITE = "sqlite:///"


def all_checks(settings: Settings) -> Iterator[Check]:
    """Yield every check's result, as each is done."""
    found = list(services(settings))
    yield from found
    serving = [process.name for process, check in zip(PROCESSES, found, strict=True) if check.ok]
    yield from contracts(settings, serving)
    yield from http_surface(settings, serving)
    yield from models(settings)
    yield from journal(settings)
    yield from feeds(settings)
    yield from baselines(settings)
    yield disk(settings)


def services(settings: Settings) -> Iterator[Check]:
    """Ask each service for its health, and where none answers, who holds its port."""
    ours = {member.name for member in procfs.members(Supervisor(settings).data_dir)}
    for process in PROCESSES:
        listen = process.settings(settings).listen
        health = health_of(process.local(settings), process.service, ANSWER_S)
        name = f"service {process.name}"
        if health == SERVING:
            yield Check(name, True, f"serving at {listen}")
        elif health != UNREACHABLE:
            yield Check(name, False, f"{health} at {listen}", "wait while it loads; then `make logs`")
        elif is_free(listen):
            yield Check(
                name,
                False,
                f"nothing listens at {listen}",
                "`make up` starts it; `make status` and `make logs` say more",
            )
        elif process.name in ours:
            yield Check(
                name, False, f"runs, and does not answer at {listen}", "`make logs` may say why; `make restart` ends it"
            )
        else:
            remedy = f"`ss -ltnp` shows what holds the port; end it, or set LIMBIC_{process.section.upper()}__LISTEN to another"
            yield Check(name, False, f"something else listens at {listen}", remedy)


def http_surface(settings: Settings, serving: list[str]) -> Iterator[Check]:
    """Ask the gateway's `/readyz`, and `/metrics` of the processes that serve."""
    ready, said = ready_over_http(settings, ANSWER_S)
    remedy = "" if ready else "`make status` shows which part is missing; `make logs` says why"
    yield Check("HTTP /readyz", ready, f"{said} at {settings.gateway.http}", remedy)
    for address in addresses(settings):
        if address.process in serving and address.setting.endswith(("__METRICS", "__HTTP")):
            fine, said = _metrics(settings, address)
            remedy = "" if fine else f"is {address.process} up, and is {address.setting} what it was started with?"
            yield Check(f"metrics {address.process}", fine, f"{said} at {address.value}", remedy)


def _metrics(settings: Settings, address: Address) -> tuple[bool, str]:
    """Ask for a process's metrics, as Prometheus would, and return whether they came and what was said."""
    on_a_face = address.setting == "LIMBIC_GATEWAY__HTTP"
    shown = (
        face_certificates(settings.runtime, settings.gateway) if on_a_face else service_certificates(settings.runtime)
    )
    headers = {}
    if on_a_face and settings.gateway.keys_file is not None:
        if settings.runtime.gateway_key_file is None:
            return True, "behind keys, not asked (LIMBIC_RUNTIME__GATEWAY_KEY_FILE)"
        headers["authorization"] = f"Bearer {read_secret(settings.runtime.gateway_key_file)}"
    context = ssl.create_default_context() if shown is None or on_a_face else client_context(shown)
    # It is this host that is asked, by an address; the certificate names it as others know it.
    context.check_hostname = False
    if on_a_face:
        context.verify_mode = ssl.CERT_NONE
    try:
        with httpx.Client(trust_env=False, verify=context, timeout=ANSWER_S) as client:
            scheme = "http" if shown is None else "https"
            answer = client.get(f"{scheme}://{reachable(address.value)}/metrics", headers=headers)
    except httpx.HTTPError as error:
        return False, f"no answer ({type(error).__name__})"
    return answer.status_code == httpx.codes.OK, f"HTTP {answer.status_code}"


def models(settings: Settings) -> Iterator[Check]:
    """Read every model file that is in use and compare it with its SHA-256."""
    wanted = [("affect head", settings.affect.model, settings.affect.model_sha256)]
    if any(upstream.is_embedded for upstream in settings.llm.upstreams):
        wanted.append(("embedded voice", settings.llm.model, settings.llm.model_sha256))
    for name, model, sha256 in wanted:
        try:
            file = find_model(model, sha256)
            digest = file.verify()
        except (ModelFileError, OSError) as error:
            # The sentence of a ModelFileError ends with what to do.
            problem, _, remedy = str(error).partition("; ")
            yield Check(f"model {name}", False, problem, remedy or "`make up` builds or installs the default models")
        else:
            checked = "content as recorded" if file.sha256 else "content not checked: no SHA-256 is recorded"
            yield Check(f"model {name}", True, f"{file.path}, {checked} ({digest[:12]}…)")


def journal(settings: Settings) -> Iterator[Check]:
    """See whether the journal can be written, and by nobody else."""
    url = settings.state.journal_url
    if not url.startswith(_SQLITE):
        yield from database(url)
        return
    path = ROOT / url.removeprefix(_SQLITE)
    if not path.parent.is_dir():
        yield Check("journal", False, f"the folder {path.parent} does not exist", "`make up` makes it")
        return
    writable = os.access(path if path.exists() else path.parent, os.W_OK)
    remedy = "" if writable else f"let the user that runs Limbic write it: `chown -R $USER {path.parent}`"
    yield Check("journal", writable, f"{path} {'can' if writable else 'cannot'} be written", remedy)
    open_to_others = [p for p in (path.parent, path) if p.exists() and _others_may_enter(p)]
    detail = "readable by this user only"
    if open_to_others:
        detail = f"others may read {', '.join(map(str, open_to_others))}, which holds what people said"
    remedy = f"`chmod -R go= {path.parent}`" if open_to_others else ""
    yield Check("journal's privacy", not open_to_others, detail, remedy)


def disk(settings: Settings) -> Check:
    """See whether there is room for the journal and the logs."""
    folder = ROOT / settings.runtime.data_dir
    free = shutil.disk_usage(folder if folder.is_dir() else ROOT).free
    fine = free >= MIN_FREE_BYTES
    remedy = "" if fine else "make room: a journal that cannot be written refuses every turn's facts"
    return Check("disk", fine, f"{free / 1e9:.1f} GB free for {folder}", remedy)


def _others_may_enter(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO))
