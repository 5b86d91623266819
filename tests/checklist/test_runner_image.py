"""The runner's image is pinned by its digest, and every place names the same one."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.checklist.runner_image import image_tag, one_image, pinned_image
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, judge
from runbook_lib.errors import ConfigError
from runbook_lib.steps.spoiling import spoiled

DIGEST = f"sha256:{64 * 'a'}"


def of(*rows: dict[str, Any], **facts: Any) -> Reply:
    return Reply(rows, **facts)


BUILD = """==> Building image
#9 [internal] load metadata for docker.io/library/node:22
--> Pushing image done
image: registry.fly.io/agentic-live-runner:deployment-01JD.x_y-Z
image size: 212 MB
"""


def test_the_tag_of_a_build_is_read_from_its_image_line() -> None:
    assert image_tag(of(text=BUILD)) == "deployment-01JD.x_y-Z"
    assert image_tag(of(text="image: 127.0.0.1:5000/agentic-live-runner:v1")) == "v1"
    assert image_tag(of(text="image: r/a:old\nimage: r/a:new\n")) == "new"


@pytest.mark.parametrize(
    "text", ["", "image size: 3 MB", "no image: a", "image: 127.0.0.1:5000/runner", f"image: r/runner@{DIGEST}"]
)
def test_a_build_without_a_tag_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="names no image"):
        image_tag(of(text=text))


def test_the_image_is_pinned_by_digest() -> None:
    pinned = pinned_image(of(text=BUILD), of({"docker_content_digest": DIGEST}))
    assert pinned == f"registry.fly.io/agentic-live-runner@{DIGEST}"


@pytest.mark.parametrize("rows", [[], [{}], [{"docker_content_digest": None}], [{"docker_content_digest": "sha256:a"}]])
def test_no_image_is_pinned_without_a_digest(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="holds no digest"):
        pinned_image(of(text=BUILD), of(*rows))


# --- one image everywhere

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


def complaint(expect: Expectation, *replies: list[dict[str, Any]]) -> str | None:
    return expect.judge([of(*rows) for rows in replies]).complaint


def image(name: str, digest: str, target: str = "production") -> dict[str, Any]:
    return {"key": name, "value": f"registry.fly.io/agentic-live-runner@{digest}", "target": [target]}


def machine(digest: str, state: str = "started") -> dict[str, Any]:
    return {"id": "148e", "state": state, "image_ref": {"digest": digest}}


VARIABLE = image("FLY_LIVE_RUNNER_IMAGE", ONE)
PREVIEW = image("FLY_LIVE_RUNNER_IMAGE", TWO, "preview")


def test_one_image_in_every_place_that_names_it() -> None:
    config = image("live_runner_image", ONE)

    assert complaint(one_image(), [VARIABLE], [], []) is None
    assert complaint(one_image(), [VARIABLE], [config], [machine(ONE), machine(TWO, "stopped")]) is None
    assert any(judge(one_image(), bad).complaint for _, bad in spoiled([of(VARIABLE), of(), of(machine(ONE))]))


def test_the_image_of_previews_is_not_asked_after() -> None:
    assert complaint(one_image(ONE), [VARIABLE, PREVIEW], [], [machine(ONE)]) is None
    assert complaint(one_image(ONE), [PREVIEW, VARIABLE], [], [machine(ONE)]) is None


def test_the_pinned_image_is_the_one_phase_0_has_built() -> None:
    assert complaint(one_image(ONE), [VARIABLE], [], []) is None
    assert "phase 0 has built" in (complaint(one_image(TWO), [VARIABLE], [], []) or "")


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ([[VARIABLE], [image("live_runner_image", TWO)], []], "live_runner_image"),
        ([[VARIABLE], [], [machine(TWO)]], "machine 148e"),
        ([[], [], []], "is not set"),
        ([[VARIABLE | {"value": "registry.fly.io/app:latest"}], [], []], "a tag can be moved"),
        ([[PREVIEW], [], []], "is not set for production"),
    ],
)
def test_any_two_that_differ_are_named(bodies: list[list[dict[str, Any]]], words: str) -> None:
    assert words in (complaint(one_image(), *bodies) or "")
