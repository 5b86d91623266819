"""Run a notebook's cells in this process, as an IPython kernel. The kernel ends when the command that started it ends.

The process is started by this file's path, or forked from a process that has imported everything that cells need.

The parent speaks to the kernel over two pipes, so that no connection file and no environment with secrets is on disk:

    stdin, line 1    {"key", "public", "secret", "warm"}: keys of the channels, modules to import ahead
    report, line 1   {"shell_port": ...}: the ports on which the kernel listens, once everything is ready
    stdin, line 2    {"environment", "without", "folder"}: what the notebook runs with; the cells come after it
"""

from __future__ import annotations

import array
import codecs
import contextlib
import faulthandler
import fcntl
import importlib
import json
import os
import select
import signal
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

from ipykernel.iostream import OutStream
from ipykernel.kernelapp import IPKernelApp
from IPython.core.profiledir import ProfileDir
from tornado.ioloop import IOLoop
from traitlets import default

from runbook_lib.forks import die_with

INLINE = "module://matplotlib_inline.backend_inline"
CHANNELS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
CHUNK = 65536  # bytes, what a pipe holds
PASSING = threading.Lock()  # held while something is between a pipe and its stream
OPTIONS = [
    "--HistoryManager.enabled=False",  # no copy of the cells in the operator's home
    "--InteractiveShell.colors=nocolor",  # colour codes in a traceback could split a secret
]


class NoProfile(ProfileDir):
    """A kernel's IPython profile without files, because a run must not depend on the operator's IPython settings."""

    def check_dirs(self) -> None:
        """Make no IPython profile folders when the kernel starts."""

    def check_startup_dir(self) -> None:
        """Make no startup folder when the kernel starts, although IPython would."""


class Stream(OutStream):
    """A kernel's stdout or stderr.

    It knows whether everything that commands printed has been passed on to the notebook. ipykernel passes this output
    on in a thread of its own, and ends a cell even if the thread has not read everything: one in a hundred commands
    lost its output.
    """

    def _watch_pipe_fd(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character may be cut in two
        pipe = int(self._fid or 0)
        while self._should_watch and select.select([pipe], [], []):
            with PASSING:
                if not (chunk := os.read(pipe, CHUNK)):
                    return
                self.write(decoder.decode(chunk))
                os.write(self._original_stdstream_copy, chunk)  # for the parent, if the kernel dies

    def drain(self) -> None:
        """Wait until everything that commands printed has been passed on to the notebook."""
        waiting = array.array("i", [1])
        while waiting[0]:
            with PASSING:
                fcntl.ioctl(int(self._fid or 0), termios.FIONREAD, waiting)
            if waiting[0]:
                time.sleep(0.0005)


class Kernel(IPKernelApp):
    """An IPython kernel that needs no connection file and no profile, and keeps any number of waiting outputs."""

    @default("ipython_dir")
    def _default_ipython_dir(self) -> str:
        return os.devnull

    def _ipython_dir_changed(self, change: Any) -> None:
        """Make no folder in the operator's home folder."""

    def init_profile_dir(self) -> None:
        self.profile_dir = NoProfile()
        self.profile_dir.location = str(Path(__file__).parent)

    def load_config_file(self, *_: Any, **__: Any) -> None:
        """Read no configuration file when the kernel's process starts."""

    def _run_startup_files(self) -> None:
        """Run no IPython startup files, so that only the notebook's cells run."""

    def init_connection_file(self) -> None:
        """Read no connection file in the kernel's process: the parent sends the keys through the pipe."""

    def write_connection_file(self, **_: Any) -> None:
        """Write no connection file: the kernel's process reports its ports through a pipe."""

    def _bind_socket(self, s: Any, port: int) -> int:
        # ZeroMQ drops outputs beyond 1000 waiting messages, silently. A record keeps them all.
        s.sndhwm = s.rcvhwm = 0
        return int(super()._bind_socket(s, port))  # type: ignore[no-untyped-call]

    def start(self) -> None:
        # ipykernel's SIGINT handler for awaiting cells leaves the event loop asleep, so an interrupt waits for the
        # await's own end (ipykernel issue 881). A loop that handles any signal is woken by all of them.
        IOLoop.current().asyncio_loop.add_signal_handler(signal.SIGURG, int)  # type: ignore[attr-defined]
        super().start()  # type: ignore[no-untyped-call]


def warm(modules: list[str]) -> None:
    """Import into the kernel's process the modules that cells will need."""
    for module in modules:
        # A missing module is the notebook's to report, in the cell that imports it.
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def listen(keys: dict[str, Any]) -> Kernel:
    """Set up the kernel in this process: bind its channels to loopback, and import the modules that cells will need."""
    os.environ["MPLBACKEND"] = INLINE  # an operator's own choice would keep the charts out of the record
    app = Kernel.instance(outstream_class=f"{__name__}.Stream")
    app.ip = "127.0.0.1"
    app.session.key = keys["key"].encode()
    app.curve_publickey, app.curve_secretkey = keys["public"].encode(), keys["secret"].encode()
    # Importing the debugger takes a third of a kernel's start, and nobody debugs a headless run.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    # A pyplot that was imported before IPython was there does not know where its charts go.
    app.initialize([*OPTIONS, *(["--matplotlib=inline"] if "matplotlib.pyplot" in sys.modules else [])])  # type: ignore[no-untyped-call]
    del sys.modules["debugpy"]  # a cell may still want it
    for stream in (sys.stdout, sys.stderr):
        app.kernel.shell.events.register("post_execute", stream.drain)  # type: ignore[union-attr]
    warm(keys["warm"])
    return app


def enter(setting: dict[str, Any]) -> None:
    """Set the environment variables and the folder of the kernel's process, as the notebook needs them."""
    for name in setting["without"]:
        os.environ.pop(name, None)
    os.environ.update(setting["environment"])
    os.environ["MPLBACKEND"] = INLINE
    time.tzset()
    os.chdir(setting["folder"])


def run(report: int) -> None:
    """Run a kernel in this process. The parent process writes orders to our stdin and reads the pipe ``report``."""
    faulthandler.enable(os.dup(2))  # a crash's last words go to the parent; IPython takes 2 for the cells
    with open(0, encoding="utf-8", closefd=False) as orders:
        keys = orders.readline()
        if not keys:
            os._exit(0)  # never needed
        app = listen(json.loads(keys))
        with open(report, "w", encoding="utf-8") as answer:
            json.dump({name: getattr(app, name) for name in CHANNELS}, answer)
            answer.write("\n")
        setting = orders.readline()
    if not setting:
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    enter(json.loads(setting))
    app.start()


def become(_: object, orders: int, report: int, log: int) -> None:
    """Turn this forked process into a kernel.

    Give the pipes the numbers that they have in a new kernel, then run the kernel.
    """
    for descriptor, place in ((orders, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    os.close(orders)
    os.close(log)
    if drawing := sys.modules.get("numpy.random"):
        drawing.seed()  # or all kernels would draw the same numbers; Python's own are seeded anew
    run(report)


def main(parent: str, report: str) -> None:
    """Run a kernel in a newly started process. The process ends when its parent process (id ``parent``) ends."""
    die_with(int(parent))
    run(int(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
