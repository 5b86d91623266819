"""Stop everything, and take it back: works without a kernel, a browser, or half of the platform."""

from runbook_lib.halt.board import Request
from runbook_lib.halt.stopping import EXIT, Done, halt

__all__ = ["EXIT", "Done", "Request", "halt"]
