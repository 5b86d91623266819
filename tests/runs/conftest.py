"""The tiny notebooks of the engine's tests, for papermill's engine."""

from __future__ import annotations

from tests.engine.conftest import folder, started

__all__ = ["folder", "started"]
