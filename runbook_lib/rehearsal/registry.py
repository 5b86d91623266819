"""The image registry's stand-in: manifests by tag and digest, as the OCI distribution API has them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """Manifests as they were pushed: (repository, tag or digest) -> bytes."""

    def __init__(self) -> None:
        self.manifests: dict[tuple[str, str], bytes] = {}

    def push(self, repository: str, tag: str, manifest: bytes) -> str:
        """Keep a manifest under its tag and its digest; return the digest."""
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.manifests[repository, tag] = self.manifests[repository, digest] = manifest
        return digest

    def digest(self, repository: str, reference: str) -> str | None:
        """The digest of a tag (or of a digest, itself), None when it was never pushed."""
        manifest = self.manifests.get((repository, reference))
        return f"sha256:{hashlib.sha256(manifest).hexdigest()}" if manifest is not None else None


def split_image(image: str) -> tuple[str, str]:
    """Repository and reference of ``registry.fly.io/<app>@sha256:…`` or ``registry.fly.io/<app>:<tag>``."""
    path = image.removeprefix("registry.fly.io/")
    if "@" in path:
        repository, _, reference = path.partition("@")
        return repository.partition(":")[0], reference
    repository, _, tag = path.partition(":")
    return repository, tag or "latest"


def registry_app(registry: Registry, allows: Callable[[str, str | None], bool]) -> Starlette:
    """``/v2`` of ``registry.fly.io``; ``allows(token, repository)`` judges the password of Basic auth."""

    async def ping(request: Request) -> Response:
        return JSONResponse({}) if allows(_password(request), None) else _unauthorized()

    async def manifest(request: Request) -> Response:
        repository, reference = request.path_params["repository"], request.path_params["reference"]
        if not allows(_password(request), repository):
            return _unauthorized()
        if request.method == "PUT":
            digest = registry.push(repository, reference, await request.body())
            return Response(status_code=201, headers={"Docker-Content-Digest": digest})
        found = registry.manifests.get((repository, reference))
        if found is None:
            return _problem(404, "MANIFEST_UNKNOWN", "manifest unknown")
        headers = {"Docker-Content-Digest": registry.digest(repository, reference) or ""}
        return Response(found, headers=headers, media_type=MANIFEST)

    async def unknown(request: Request, _: Exception) -> Response:
        return _problem(404, "UNSUPPORTED", f"the rehearsal knows no {request.method} {request.url.path}")

    path = "/v2/{repository}/manifests/{reference}"
    return Starlette(
        routes=[Route("/v2/", ping), Route(path, manifest, methods=["GET", "HEAD", "PUT"])],
        exception_handlers={404: unknown, 405: unknown},
    )


def _password(request: Request) -> str:
    """The password of an Authorization header; the user is ``x`` by convention and does not matter."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded).decode().partition(":")[2]
    except ValueError:
        return ""


def _problem(code: int, name: str, message: str) -> Response:
    return JSONResponse({"errors": [{"code": name, "message": message}]}, code)


def _unauthorized() -> Response:
    answer = _problem(401, "UNAUTHORIZED", "authentication required")
    answer.headers["WWW-Authenticate"] = 'Basic realm="registry.fly.io"'
    return answer
