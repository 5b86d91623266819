"""A whole platform of stand-ins on loopback, in a folder of its own, for rehearsing the runbook."""

from runbook_lib.rehearsal.supervise import Running, attach, find, keep, rehearse, stop, sweep

__all__ = ["Running", "attach", "find", "keep", "rehearse", "stop", "sweep"]
