"""Pin the runner's image by its digest, and judge that every setting and machine names this digest (C7, C30)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.fly_machines import MACHINES
from runbook_lib.agentic_trading.venue_answers import inner
from runbook_lib.checklist.web_app_variables import in_production
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACES = ("FLY_LIVE_RUNNER_IMAGE", "live_runner_image")  # Vercel's variable, the row of platform_config
ACTIVE = ("started", "starting", "stopping", "restarting")
IMAGE = re.compile(r"^\W*image: ([^\s@]+):([\w.-]+)\s*$", re.MULTILINE)  # a build prints a tag, no digest (C7)


def image_tag(build: Reply) -> str:
    """Return the tag of the runner's image from a build's output: ``image: registry.fly.io/<app>:<tag>``."""
    return _built(build)[1]


def pinned_image(build: Reply, manifest: Reply) -> str:
    """Return the address of the runner's image that a build made, with its digest in place of its tag.

    The registry gives the digest for the image's tag.
    """
    digest = manifest.column("docker_content_digest")[:1]
    if not digest or not re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest[0])):
        raise ConfigError(f"the registry's answer holds no digest of the image: {digest or 'no row'}")
    return f"{_built(build)[0]}@{digest[0]}"


def _built(build: Reply) -> tuple[str, str]:
    """Return the repository and the tag of the last image named in the build's output."""
    named = IMAGE.findall(build.text)
    if not named:
        raise ConfigError(f"the build's output names no image: {build.text[-300:]!r}")
    repository, tag = named[-1]
    return repository, tag


def one_image(built: str | None = None) -> Expectation:
    """Expect that every setting that names the runner's image, and every machine, has the same digest (C30).

    Replies: Vercel's variables, of which only production's count, rows of ``platform_config``, Fly's machines.
    ``built`` is the digest that phase 0 recorded.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        variables, config, machines = replies
        named = {str(row.get("key")): row.get("value") for row in (*in_production(variables).values(), *config.rows)}
        digests = {name: _digest(named[name]) for name in PLACES if name in named}
        if PLACES[0] not in digests:
            return Finding("", f"{PLACES[0]} is not set for production")
        for row in machines.rows:
            if row.get("state") in ACTIVE:
                digests[f"machine {row.get('id')}"] = str(inner(row, "image_ref").get("digest"))
        pinned = digests[PLACES[0]]
        if not pinned.startswith("sha256:"):
            return Finding(pinned, f"{PLACES[0]} is {named[PLACES[0]]}, which is no digest: a tag can be moved")
        if built is not None and pinned != built:
            return Finding(pinned, f"{PLACES[0]} names {pinned}, phase 0 has built and recorded {built}")
        bad = [f"{name}: {digest}" for name, digest in digests.items() if digest != pinned]
        return Finding(f"{pinned[:19]}… in {', '.join(digests)}", f"not {pinned}: {'; '.join(bad)}" if bad else None)

    return over_all("one image everywhere", test, empty=True, about=[MACHINES])


def _digest(image: Any) -> str:
    """Return the digest in ``repository@sha256:…``. Return the whole text if it holds no digest."""
    return str(image).rpartition("@")[2]
