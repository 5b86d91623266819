"""Loopback servers for the watch: one that hears alerts and pings, and a line to a service that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Hearing(ThreadingHTTPServer):
    """Takes every request and keeps its path and body; ``status`` is what it answers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Ear)
        self.heard = []
        self.status = 200

    @property
    def port(self):
        return self.server_address[1]

    def __enter__(self):
        self.serving = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.serving.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.serving.join()
        self.server_close()

    def paths(self, beginning):
        return [body for path, body in list(self.heard) if path.startswith(beginning)]


class Ear(BaseHTTPRequestHandler):
    def hear(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.server.heard.append((self.path, body))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = hear

    def log_message(self, *_):
        """Say nothing."""


class Line:
    """A way to a service on loopback; `cut` hangs up and takes no calls, `mend` takes them again."""

    def __init__(self, address):
        self.address = address
        self.there = (urlsplit(address).hostname, urlsplit(address).port)
        self.listener = None
        self.open = []
        self.port = 0
        self.mend()

    @property
    def url(self):
        parts = urlsplit(self.address)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()

    def mend(self):
        if self.listener is not None:
            return
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._take, args=(self.listener,), daemon=True).start()

    def cut(self):
        if self.listener is None:
            return
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.open = []

    def _take(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(self.there)
                except OSError:
                    near.close()
                    continue
                self.open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
