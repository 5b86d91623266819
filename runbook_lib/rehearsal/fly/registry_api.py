"""Serve the HTTP API of registry.fly.io to requests with a valid token.

The API takes and returns manifests of images by tag and digest.
"""

from __future__ import annotations

import base64

from starlette.applications import Starlette
from starlette.responses import Response

from runbook_lib.rehearsal.fly.apps import Fly
from runbook_lib.rehearsal.world.http_server import Ask, Json, Refusal, application

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def app(fly: Fly) -> Starlette:
    """Serve the manifests of Fly's image registry by tag and digest, as the OCI distribution API does."""

    def admit(ask: Ask) -> None:
        """Raise the registry's 401 `Refusal` unless the request's Basic auth has a valid token as password.

        The user name does not matter.
        """
        try:
            password = base64.b64decode(ask.token("Basic")).decode().partition(":")[2]
        except ValueError:
            password = ""
        if not fly.allows(password, ask.parts.get("repository")):
            headers = {"WWW-Authenticate": 'Basic realm="registry.fly.io"'}
            raise Refusal(401, "authentication required", "UNAUTHORIZED", headers=headers)

    async def get(ask: Ask) -> Response:
        manifest = fly.manifests.get((ask.parts["repository"], ask.parts["reference"]))
        if manifest is None:
            raise Refusal(404, "manifest unknown", "MANIFEST_UNKNOWN")
        return _pushed(fly, ask, manifest, 200)

    async def put(ask: Ask) -> Response:
        return _pushed(fly, ask, ask.raw, 201)

    async def ping(_: Ask) -> Json:
        return {}

    path = "/v2/{repository}/manifests/{reference}"
    return application("registry", {"GET /v2/": ping, f"GET {path}": get, f"PUT {path}": put}, admit=admit)


def _pushed(fly: Fly, ask: Ask, manifest: bytes, status: int) -> Response:
    digest = fly.push(ask.parts["repository"], ask.parts["reference"], manifest)
    return Response(manifest, status, {"Docker-Content-Digest": digest}, media_type=MANIFEST)
