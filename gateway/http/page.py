"""The page at `/`: a few files, served from memory as they stand in `gateway/page`, with nothing from anywhere else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from gateway.http.conversations_errors import ConversationRoute
from gateway.http.conversations_guard import Guard
from limbic.runtime.errors import NotFoundError

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}

_HEADERS = {
    # Trusted types: no text ever becomes markup, by mistake of ours either.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Asked for each time and answered with 304: a page and its scripts are then always of one version.
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, and the tag that names its content."""

    content: bytes
    media_type: str
    tag: str


def load_assets(folder: Traversable | None = None) -> dict[str, Asset]:
    """Read every file of the page, by its path below the folder."""
    assets: dict[str, Asset] = {}
    waiting = [("", folder or files("gateway") / "page")]
    while waiting:
        prefix, place = waiting.pop()
        for entry in place.iterdir():
            path = f"{prefix}{entry.name}"
            if entry.is_dir():
                waiting.append((f"{path}/", entry))
            elif (media_type := _TYPES.get(entry.name.rpartition(".")[2])) is not None:
                content = entry.read_bytes()
                assets[path] = Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return assets


def page(guard: Guard) -> APIRouter:
    """Build the face. Reads the files once."""
    face = APIRouter(route_class=ConversationRoute)
    assets = load_assets()

    @face.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        """Return the page."""
        return _answer(request, "index.html")

    @face.api_route("/page/{path:path}", methods=["GET", "HEAD"])
    async def asset(path: str, request: Request) -> Response:
        """Return one of its files."""
        return _answer(request, path)

    def _answer(request: Request, path: str) -> Response:
        # A person may come from anywhere, by a link; another site's page may not take parts of it.
        guard.check_host(request)
        asset = assets.get(path)
        if asset is None:
            raise NotFoundError("there is no such file")
        headers = {**_HEADERS, "etag": asset.tag}
        if asset.tag in (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    return face
