"""Become another user, ask to end with the parent, and turn into a command. Run as a script, not imported.

``python -I -S launch.py PARENT SIGNAL UID:GID COMMAND…`` (``-`` for the user keeps the present one). It needs
nothing but the standard library, because the user it becomes may not be able to read anything else of ours.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def become(account: str) -> None:
    """Give up root for ``UID:GID``, for good and without its other groups."""
    user, group = (int(part) for part in account.split(":"))
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def end_with(parent: int, number: int) -> None:
    """Have the kernel send us signal ``number`` when the parent ends; it may have ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        raise SystemExit("the process that started this one has ended")


def main(parent: str, number: str, account: str, *command: str) -> None:
    """Do the three steps in the one order that works: a change of user clears the parent-death signal."""
    if account != "-":
        become(account)
    end_with(int(parent), int(number))
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
