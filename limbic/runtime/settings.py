"""Every setting of every process, with its default and its reason.

One model for all, because the four processes share one environment and one file, and a key that nobody knows must be refused: a
misspelt deadline that is silently ignored is worse than a start that fails. Sources, the first wins: environment variables
`LIMBIC_<SECTION>__<KEY>`, then the TOML file that `LIMBIC_CONFIG` names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

ENV_PREFIX = "LIMBIC_"
CONFIG_VARIABLE = "LIMBIC_CONFIG"
MIB = 1024 * 1024


def _is_host_and_port(value: str) -> bool:
    host, _, port = value.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536


def _host_and_port(value: str) -> str:
    if value.startswith("unix:") or not _is_host_and_port(value):
        raise ValueError("must be HOST:PORT")
    return value


def _address(value: str) -> str:
    on_a_socket = value.startswith("unix:") and value != "unix:"
    if not on_a_socket and not _is_host_and_port(value):
        raise ValueError("must be HOST:PORT or unix:PATH")
    return value


Address = Annotated[str, AfterValidator(_address)]
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]


class _Section(BaseModel):
    # The docstring under a key is its description: docs/operations.md is made from them.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any, info: ValidationInfo) -> Any:
        # An environment has no other way to say that there is none.
        optional = type(None) in get_args(cls.model_fields[str(info.field_name)].annotation)
        return None if value == "" and optional else value


class RuntimeSettings(_Section):
    """What all processes share."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below this level are not written."""
    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for people."""
    drain_s: PositiveFloat = 8.0
    """Calls in flight get this long after SIGTERM. supervisord's stopwaitsecs follows from it."""
    lame_duck_s: NonNegativeFloat = 0.2
    """How long calls are still taken after health has said NOT_SERVING, so that clients can turn away first."""
    otlp_endpoint: str | None = Field(default=None, pattern="^https?://")
    """URL of a collector that takes OpenTelemetry traces over gRPC, such as http://127.0.0.1:4317; empty: no traces are made."""
    trace_sample_ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the turns that begin a trace. A caller that brings a trace of its own decides for itself."""
    start_retries: PositiveInt = 10
    """How often a process that dies within its first ten seconds is started again, after 1, 2, 3 … seconds, before it is given up."""
    supervision_metrics: HostAndPort | None = "127.0.0.1:9101"
    """Where the watcher beside supervisord serves `/metrics`: exits, starts and what runs; empty for nowhere."""
    channelz: bool = False
    """Serve channelz. It shows the addresses of peers."""
    data_dir: Path = Path("var")
    """Journal, spool and sockets. Created with mode 0700."""
    logs_dir: Path = Path("logs")
    """The readable feeds. Created with mode 0700."""
    models_dir: Path = Path("models")
    """Where `limbic models pull` puts models."""
    hub_url: str = "https://huggingface.co"
    """Where it gets them from, unless it is given a whole address."""
    hub_token_file: Path | None = None
    """A file that holds your token there, for models whose terms have to be accepted first. It is sent to no other host."""
    allow_insecure: bool = False
    """Listen also where strangers could come in without a credential: only where something else keeps them out, such as a private
    network."""
    reflection: bool | None = None
    """Serve gRPC reflection, which shows the contracts to tools; empty: on loopback and Unix sockets only."""
    tls_ca: Path | None = None
    """The authority (PEM) that signs the certificates of your services. With tls_cert and tls_key, services take calls, and answer on their
    metrics addresses, over TLS from holders of such a certificate only; Unix sockets need none."""
    tls_cert: Path | None = None
    """This process's certificate (PEM), with every name under which others call it, and with localhost and 127.0.0.1 for its own health
    checks."""
    tls_key: Path | None = None
    """Its private key (PEM, without a passphrase); unreadable to others."""
    gateway_key_file: Path | None = None
    """A file that holds a key of the gateway, for `limbic chat` and `limbic doctor`; unreadable to others."""

    @model_validator(mode="after")
    def _certificates_are_whole(self) -> Self:
        given = [path is not None for path in (self.tls_ca, self.tls_cert, self.tls_key)]
        if any(given) and not all(given):
            raise ValueError("tls_ca, tls_cert and tls_key belong together: give all three, or none")
        return self


class ServerSettings(_Section):
    """Where a service listens and how long its calls may take."""

    listen: Address
    """Where gRPC listens: HOST:PORT or unix:PATH."""
    metrics: HostAndPort | None = None
    """Where `/metrics` is served; empty where it is not, or where the HTTP address serves it."""
    default_deadline_s: PositiveFloat = 10.0
    """For a call that brings no deadline."""
    max_deadline_s: PositiveFloat = 60.0
    """A longer deadline is shortened to this."""
    max_message_bytes: PositiveInt = 4 * MIB
    """A larger message is refused."""


class StateSettings(ServerSettings):
    """The state engine."""

    listen: Address = "127.0.0.1:50052"
    metrics: HostAndPort | None = "127.0.0.1:9102"
    journal_url: str = "sqlite:///var/journal.sqlite3"
    """Where facts are kept: sqlite:///PATH for one engine, postgresql://USER@HOST/DATABASE for any number of them."""
    temperament: str = "default"
    """For sessions that name none."""
    temperaments_dir: Path | None = None
    """More temperaments, besides those that are shipped."""
    keep_text: bool = True
    """Whether sessions keep the words said unless they say otherwise: the model's memory of the conversation lives there."""
    write_queue: PositiveInt = 4096
    """Facts that may wait for the writer; beyond it RESOURCE_EXHAUSTED."""
    cached_sessions: PositiveInt = 10_000
    """Sessions whose state is kept in memory; others are read from the journal when they are next used."""
    retention_days: PositiveFloat | None = None
    """Sessions of which nothing was recorded for so long are deleted, whole and for good; empty: none ever is."""
    facts_per_session: PositiveInt = 1_000_000
    """Turns and stimuli that a session may hold: each takes about a kilobyte of memory while the session is cached."""


class AffectSettings(ServerSettings):
    """The affect head."""

    listen: Address = "127.0.0.1:50053"
    metrics: HostAndPort | None = "127.0.0.1:9103"
    model: str = "affect-head"
    """A name in limbic/models.toml, or the path of a GGUF file."""
    model_sha256: str = ""
    """Required content of a model given by its path; empty: not checked. Named models are always checked."""
    workers: PositiveInt = 1
    """Readings that are computed at the same time, each with its own context."""
    threads: PositiveInt = 1
    """Threads of each worker. Workers times threads should not exceed the cores."""
    queue: PositiveInt = 64
    """Utterances that may wait; beyond it RESOURCE_EXHAUSTED."""


EMBEDDED = "embedded"
"""The model in this process, where an upstream's URL could stand."""


class UpstreamSettings(_Section):
    """What speaks: a server that speaks the OpenAI protocol, or the embedded model."""

    url: str = ""
    """The server's base URL, with the /v1; `embedded` or empty: the embedded model speaks."""
    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    """What it is called in traces, metrics and logs; empty: openai or embedded, and its place in the order where another is called so."""
    model: str = ""
    """The model's name there; empty: the first one that it lists."""
    context_tokens: int = Field(default=0, ge=0)
    """The model's window there, to which the history is cut; 0: unknown, and all of it is sent."""
    first_delta_timeout_s: PositiveFloat | None = None
    """From a try at it to its first words; empty: as `llm.first_delta_timeout_s` says."""
    api_key_file: Path | None = None
    """A file that holds the key; read once, at the start."""
    api_key: str = Field(default="", repr=False)
    """The key itself; a file is better, since other processes of the user can read an environment."""

    @property
    def is_embedded(self) -> bool:
        """Whether this is the model in this process."""
        return self.url in ("", EMBEDDED)


class PersonaAdapter(_Section):
    """A LoRA adapter under which one character speaks."""

    persona: str = Field(min_length=1)
    """The adapter is used where a turn's persona begins with these words; the first one that fits counts."""
    file: Path
    """The adapter, a GGUF file made for the embedded model."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Its required content."""
    scale: float = Field(default=1.0, ge=-4.0, le=4.0)
    """How strongly it acts; 1 as it was trained."""


class LlmSettings(ServerSettings):
    """The living LLM."""

    listen: Address = "127.0.0.1:50054"
    metrics: HostAndPort | None = "127.0.0.1:9104"
    default_deadline_s: PositiveFloat = 120.0
    max_deadline_s: PositiveFloat = 600.0
    upstream: UpstreamSettings = UpstreamSettings()
    """What speaks."""
    fallbacks: tuple[UpstreamSettings, ...] = ()
    """What speaks, in this order, where the ones before cannot: a list of {url, name, model, context_tokens, first_delta_timeout_s,
    api_key_file, api_key}; the url `embedded` is the embedded model."""
    model: str = "smollm2-135m-instruct"
    """The embedded model: a name in limbic/models.toml, or the path of a GGUF file."""
    model_sha256: str = ""
    """Required content of a model given by its path; empty: not checked. Named models are always checked."""
    prompt_format: Literal["auto", "transcript", "chat-template", "chatml", "gemma", "llama-3", "mistral"] = "auto"
    """How the embedded model is prompted; auto: as limbic/models.toml says, else by its own chat template, else as a transcript. The last
    four are for files that lost the template that their model was trained on."""
    context_tokens: PositiveInt = 4096
    """Window of the embedded model."""
    threads: PositiveInt = 2
    """Threads of the embedded model."""
    queue: PositiveInt = 8
    """Replies that may wait for the embedded model; beyond it RESOURCE_EXHAUSTED."""
    session_state_bytes: int = Field(default=512 * MIB, ge=0)
    """What may be kept of what the embedded model has computed for conversations that do not speak now; 0: nothing."""
    adapters: tuple[PersonaAdapter, ...] = ()
    """LoRA adapters of the embedded model, by persona: a list of {persona, file, sha256, scale}."""
    steering_dir: Path | None = None
    """A folder of control vectors that `limbic steer build` made for the embedded model; empty: levels steer words and sampling only."""
    connect_timeout_s: PositiveFloat = 2.0
    """For opening a connection to an upstream."""
    first_delta_timeout_s: PositiveFloat = 30.0
    """From a try to its first words."""
    idle_timeout_s: PositiveFloat = 15.0
    """Between two deltas."""
    retry_attempts: PositiveInt = 4
    """Tries at one reply, the first included, and only before its first delta."""
    retry_initial_s: PositiveFloat = 0.2
    """Upper bound of the first wait; each further one may be twice as long."""
    retry_max_s: PositiveFloat = 5.0
    """No wait between two tries is longer."""
    retry_budget_ratio: PositiveFloat = 0.2
    """Retries that each success earns; keeps an outage from multiplying the load."""
    retry_budget_min: PositiveFloat = 10.0
    """Retries that are there without any success."""
    circuit_failures: PositiveInt = 5
    """Failures in a row that open an upstream's circuit."""
    circuit_open_s: PositiveFloat = 5.0
    """How long it stays open before a probe."""

    @property
    def upstreams(self) -> tuple[UpstreamSettings, ...]:
        """All upstreams, in the order in which they are asked."""
        return (self.upstream, *self.fallbacks)

    @field_validator("fallbacks")
    @classmethod
    def _say_what_they_are(cls, value: tuple[UpstreamSettings, ...]) -> tuple[UpstreamSettings, ...]:
        if not all(fallback.url for fallback in value):
            raise ValueError(f"each needs a url; that of the embedded model is {EMBEDDED!r}")
        return value


class GatewaySettings(ServerSettings):
    """The gateway."""

    listen: Address = "127.0.0.1:50051"
    http: Address = "127.0.0.1:8080"
    """Where HTTP listens: the page, the APIs, health, metrics, telemetry."""
    keys_file: Path | None = None
    """The keys of those who may use the gateway, made by `limbic keys create`; empty: nobody needs one, which is allowed on loopback
    only."""
    tls_cert: Path | None = None
    """The certificate (PEM, with its chain) under which users reach gRPC and HTTP; empty: they speak in clear."""
    tls_key: Path | None = None
    """Its private key (PEM, without a passphrase); unreadable to others."""
    default_deadline_s: PositiveFloat = 120.0
    max_deadline_s: PositiveFloat = 600.0
    state_target: Address = "127.0.0.1:50052"
    """Where the state engine is."""
    affect_target: Address = "127.0.0.1:50053"
    """Where the affect head is."""
    llm_target: Address = "127.0.0.1:50054"
    """Where the living LLM is."""
    affect_window_ms: int = Field(default=600, ge=0, le=60_000)
    """How long a turn waits for its own reading before the model is asked."""
    affect_deadline_ms: int = Field(default=30_000, ge=1, le=600_000)
    """When a reading that has not come is given up."""
    state_deadline_ms: int = Field(default=250, ge=1, le=60_000)
    """For each call to the state engine within a turn; after it the turn goes on with the last known state."""
    answer_reserve_ms: int = Field(default=50, ge=0, le=10_000)
    """Kept back from each budget, for answering."""
    max_turns: PositiveInt = 64
    """Turns that may run at once; beyond it RESOURCE_EXHAUSTED."""
    session_queue: int = Field(default=2, ge=0, le=1_000)
    """Turns of one session that may wait while another one of it runs; beyond it RESOURCE_EXHAUSTED. 0: none may."""
    session_wait_ms: int = Field(default=10_000, ge=1, le=600_000)
    """How long such a turn waits at most."""
    client_sampling: Literal["expression", "client"] = "expression"
    """Whose temperature, top_p and penalties count over the OpenAI-compatible API: what the levels set, or what the client sends. Front
    ends send theirs always. max_tokens, stop and seed are always the client's."""
    cors_origins: tuple[str, ...] = ()
    """Origins of front ends in a browser that may call /v1 and /api/classify, such as https://chat.example, besides pages of this machine:
    a list."""
    history_messages: PositiveInt = 200
    """Earlier messages that are given to the model at most, before its window cuts them further. Of a longer conversation it gets half
    as many or more, so that where they begin stays the same for many turns and need not be computed again each time."""
    persona: str = "You are Ada, a warm and curious friend. You talk like a person in a chat: short, plain, honest, with your own mind."
    """Who the character is, where a turn does not say."""
    spool_max_bytes: PositiveInt = 64 * MIB
    """Room on disk for facts that wait for the state engine; beyond it they are refused and counted."""
    log_text: bool = False
    """Whether the feeds and telemetry hold the words said."""
    explain_readings: bool = True
    """Whether the head is asked why it read as it did, beside the turn and only where it has time, for telemetry and feeds. A reason quotes
    the words, so there is none while log_text is off."""
    feed_max_bytes: int = Field(default=10 * MIB, ge=0)
    """A feed that has grown to this is rotated; 0: none is written. They are affect_head_raw.jsonl and affect_head_readable.log in the
    runtime's logs_dir."""
    feed_files: PositiveInt = 5
    """How many files there are of a feed, the current one among them; the oldest is removed."""
    max_watchers: PositiveInt = 64
    """Streams over HTTP without an end, of telemetry and of states, that may be open at once; beyond it 429."""
    http_hosts: tuple[str, ...] = ()
    """Names under which browsers may use the page and its API, besides addresses and localhost: a list. It keeps a site whose name was
    pointed at this machine out."""

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both, or none")
        return self


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    runtime: RuntimeSettings = RuntimeSettings()
    state: StateSettings = StateSettings()
    affect: AffectSettings = AffectSettings()
    llm: LlmSettings = LlmSettings()
    gateway: GatewaySettings = GatewaySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over the file."""
        path = os.environ.get(CONFIG_VARIABLE)
        file = (TomlConfigSettingsSource(settings_cls, toml_file=Path(path)),) if path else ()
        return (init_settings, env_settings, *file)


class SettingsError(Exception):
    """The settings cannot be used. The text names each key and what is wrong with it, and never a value."""


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and the file.

    Raises:
        SettingsError: an unknown key, a bad value, or a file that is missing or no TOML.
    """
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names a file that does not exist: {path}")
    unknown = [name for name in os.environ if name.startswith(ENV_PREFIX) and not _is_known(name)]
    if unknown:
        raise SettingsError(f"unknown environment variables: {', '.join(sorted(unknown))}")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"settings: {problems}") from None
    except ValueError as error:
        # tomllib's own message names the line and not the value.
        raise SettingsError(f"settings: {error}") from None


def _is_known(variable: str) -> bool:
    if variable == CONFIG_VARIABLE:
        return True
    section, _, key = variable.removeprefix(ENV_PREFIX).lower().partition("__")
    field = Settings.model_fields.get(section)
    model: Any = field.annotation if field is not None else None
    # A nested key that is wrong is refused by the model itself, with its path; here only what pydantic-settings would ignore.
    return model is not None and key.partition("__")[0] in model.model_fields
