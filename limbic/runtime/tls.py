"""Certificates: who we are to others, and who others must be to us.

Two kinds. The services know each other by certificates of an authority of your own (mTLS): each shows one, and each asks for one. The
gateway shows its users a certificate that they know already, and asks them for a key instead. A process that speaks TLS also listens on a
Unix socket in its data directory: health checks on the same host need no certificate, whatever names it has.

Servers read renewed files without a restart: gRPC asks before every handshake, HTTP is told by a watch. A client's side is read when its
channel is opened.
"""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

import grpc

from limbic.runtime.logs import get_logger
from limbic.runtime.settings import GatewaySettings, RuntimeSettings, ServerSettings, SettingsError

_log = get_logger(__name__)

_TO_OTHERS = stat.S_IRWXO | stat.S_IWGRP
"""A group may read: that is how containers are given secrets."""


class CertificateError(SettingsError):
    """Certificate files cannot be used. The text names the file and the reason."""


class SecretFileError(SettingsError):
    """A file that holds a secret cannot be read, or others can read it too."""


def refuse_public(path: Path) -> None:
    """Refuse a file that others may read or anybody but its owner may write.

    Raises:
        SecretFileError: it is so, or is not there.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise SecretFileError(f"{path} cannot be read ({error.strerror})") from None
    if mode & _TO_OTHERS:
        raise SecretFileError(f"{path} has mode {mode:04o}, so others can read or change it: `chmod 600 {path}`")


def read_secret(path: Path) -> str:
    """Return the secret that stands alone in a file.

    Raises:
        SecretFileError: others can read it too, or it cannot be read, or is empty.
    """
    refuse_public(path)
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretFileError(f"{path} cannot be read ({type(error).__name__})") from None
    if not secret:
        raise SecretFileError(f"{path} is empty")
    return secret


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files of one party.

    Attributes:
        cert: its certificate, and the chain above it.
        key: its private key.
        ca: the authority that the other side's certificate must come from; None: the other side needs none.
    """

    cert: Path
    key: Path
    ca: Path | None = None

    def check(self) -> None:
        """See that the files can be used.

        Raises:
            CertificateError: one cannot be read or is none, or the key is of another certificate.
            SecretFileError: the key is readable to others.
        """
        refuse_public(self.key)
        self.context()

    def context(self) -> ssl.SSLContext:
        """Return them as Python's own TLS wants them, for a server.

        Raises:
            CertificateError: as in `check`.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca is not None:
            load_authority(context, self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let a context show this certificate from the next handshake on.

        Raises:
            CertificateError: as in `check`.
        """
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise CertificateError(f"{self.cert} with {self.key} cannot be used: {_reason(error)}") from None

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when one of the files is renewed. Raises OSError."""
        files = [path.stat() for path in (self.cert, self.key, self.ca) if path is not None]
        return tuple((file.st_mtime_ns, file.st_size, file.st_ino) for file in files)

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Return them as gRPC wants them. Raises OSError."""
        authority = self.ca.read_bytes() if self.ca is not None else None
        return grpc.ssl_server_certificate_configuration([(self.key.read_bytes(), self.cert.read_bytes())], authority)


class _Renewed:
    """Gives gRPC the files anew when they have changed. It is asked before every handshake, in a thread of gRPC."""

    def __init__(self, files: Certificates) -> None:
        self._files = files
        self._stamp = files.stamp()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return None
            self._files.check()
            renewed = self._files.configuration()
        except (OSError, SettingsError) as error:
            # Half-written, most likely: the old ones go on until the new ones can be used.
            _log.error("renewed certificates cannot be used", reason=str(error))
            return None
        self._stamp = stamp
        _log.info("certificates renewed", cert=str(self._files.cert))
        return renewed


def service_certificates(runtime: RuntimeSettings) -> Certificates | None:
    """Return the certificates between services, if they are configured."""
    if runtime.tls_cert is None or runtime.tls_key is None:
        return None
    return Certificates(runtime.tls_cert, runtime.tls_key, runtime.tls_ca)


def face_certificates(runtime: RuntimeSettings, section: ServerSettings) -> Certificates | None:
    """Return what a process shows to those who call it: the gateway its own, everything else the one between services."""
    if not isinstance(section, GatewaySettings):
        return service_certificates(runtime)
    if section.tls_cert is None or section.tls_key is None:
        return None
    return Certificates(section.tls_cert, section.tls_key)


def local_socket(data_dir: Path, name: str) -> str:
    """Return where a process that speaks TLS also listens for this user's own checks and commands, which then need no certificate."""
    return f"unix:{data_dir.absolute() / name}.sock"


def server_credentials(files: Certificates) -> grpc.ServerCredentials:
    """Return what a gRPC server shows and asks for, on one port; renewed files are taken up with the next connection.

    Raises:
        CertificateError, SecretFileError: the files cannot be used.
    """
    files.check()
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(),
        _Renewed(files),  # type: ignore[arg-type]  # None stands for no change, which the stubs do not know
        require_client_authentication=files.ca is not None,
    )


def channel_credentials(files: Certificates) -> grpc.ChannelCredentials:
    """Return what a gRPC client shows to services, and the authority that theirs must come from.

    Raises:
        CertificateError, SecretFileError: the files cannot be used.
    """
    files.check()
    authority = files.ca.read_bytes() if files.ca is not None else None
    return grpc.ssl_channel_credentials(authority, files.key.read_bytes(), files.cert.read_bytes())


def client_context(files: Certificates) -> ssl.SSLContext:
    """Return the same for an HTTP client.

    Raises:
        CertificateError: the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca is not None:
        load_authority(context, files.ca)
    files.load_into(context)
    return context


def load_authority(context: ssl.SSLContext, ca: Path) -> None:
    """Let a context trust an authority.

    Raises:
        CertificateError: the file cannot be used.
    """
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        raise CertificateError(f"{ca} cannot be used: {_reason(error)}") from None


def _no_passphrase() -> bytes:
    # OpenSSL would ask the terminal for one, and a service would wait for it for ever.
    raise ValueError("the key is locked with a passphrase, which nobody could enter")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is no PEM file").replace("_", " ").lower()
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
