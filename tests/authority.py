"""A certificate authority for tests: real certificates, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMES = ("DNS:localhost", "IP:127.0.0.1")


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates.

    Args:
        folder: where its files go.
        name: what it is called; two of them are strangers to each other.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self.ca = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl("req", "-x509", *_new_key(self._key), "-out", self.ca, "-subj", f"/CN={name}", "-days", "2")

    def issue(self, name: str, *, names: tuple[str, ...] = NAMES, days: int = 1) -> Issued:
        """Issue a certificate for these names; with -1 days it is over already."""
        request = self._folder / f"{name}.csr"
        issued = Issued(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        alternative = f"subjectAltName={','.join(names)}"
        _openssl("req", *_new_key(issued.key), "-out", request, "-subj", f"/CN={name}", "-addext", alternative)
        signed_by = ("-CA", self.ca, "-CAkey", self._key, "-CAcreateserial")
        _openssl(
            "x509", "-req", "-in", request, *signed_by, "-out", issued.cert, "-days", days, "-copy_extensions", "copy"
        )
        issued.key.chmod(0o600)
        return issued


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path)


def _openssl(*arguments: str | int | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
