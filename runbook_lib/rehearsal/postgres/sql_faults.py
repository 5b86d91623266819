"""Put a proxy in front of Postgres that answers chosen statements with an error, late or never.

The proxy reads the client's messages one by one and passes on all that belong to no chosen statement. Nothing of a
chosen statement reaches the server: the client gets the words of an error as the server would send them.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

# What Postgres says: SQLSTATE and words.
WORDS = {
    "error": ("42P01", 'relation "public.nowhere" does not exist'),
    "timeout": ("57014", "canceling statement due to statement timeout"),
    "read-only": ("25006", "cannot execute INSERT in a read-only transaction"),
}
# hang: no answer at all; lost: the connection ends
KINDS = (*WORDS, "hang", "lost")
PIECE = 65536  # bytes read at once


@dataclass
class SqlFault:
    """A fault in the answer to every SQL statement that contains ``text``. ``kind`` says what is wrong with the answer.

    An empty ``text`` matches all statements.
    """

    text: str
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}: choose one of {', '.join(KINDS)}")


class SqlFaults:
    """A proxy for SQL faults in front of a database, as a context manager.

    Clients connect to ``url``, the proxy's address.
    """

    def __init__(self, database: str) -> None:
        parts = urlsplit(database)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        user = f"{parts.username}@" if parts.username else ""
        self.url = urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}"))
        self.fault: SqlFault | None = None
        self.delay = 0.0  # seconds every query takes longer
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ended.set()
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, contextlib.suppress(OSError, EOFError):
            _Session(self, client, server).run(self._ended)


class _Session:
    """One client's connection to the server through the proxy."""

    def __init__(self, faults: SqlFaults, client: socket.socket, server: socket.socket) -> None:
        self.faults, self.client, self.server = faults, client, server
        self.unread = b""
        self.started = False  # the first message has no type
        self.spoiling: SqlFault | None = None  # everything is swallowed up to the next Sync
        self.status = b"I"  # of the transaction, as the server last told it

    def run(self, ended: threading.Event) -> None:
        """Relay messages between client and Postgres, with SQL faults, until either side closes the connection."""
        while not ended.is_set():
            for ready in select.select([self.client, self.server], [], [], 0.2)[0]:
                piece = ready.recv(PIECE)
                if not piece:
                    return
                if ready is self.server:
                    self._heed(piece)
                    self.client.sendall(piece)
                else:
                    self.unread += piece
                    self._messages()

    def _heed(self, piece: bytes) -> None:
        """Store the state of the transaction from the ReadyForQuery message that ends each answer of the server."""
        if piece[-6:-1] == b"Z\x00\x00\x00\x05":
            self.status = piece[-1:]

    def _messages(self) -> None:
        """Take each complete message out of the client's bytes, and pass it on or apply a SQL fault.

        The messages are taken out of the bytes that the client has sent.
        """
        while True:
            head = 1 if self.started else 0
            if len(self.unread) < head + 4:
                return
            size = head + struct.unpack_from("!I", self.unread, head)[0]
            if len(self.unread) < size:
                return
            message, self.unread = self.unread[:size], self.unread[size:]
            # An encryption request is not the beginning yet: the server answers it with one letter.
            self.started = self.started or message[4:8] not in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30")
            self._take(message, first=head == 0)

    def _take(self, message: bytes, *, first: bool) -> None:
        kind = b"" if first else message[:1]
        fault = self.faults.fault
        if kind in (b"P", b"Q") and fault and fault.text.encode() in message:
            self.spoiling = fault
        if self.spoiling is None:
            if kind in (b"S", b"Q"):
                time.sleep(self.faults.delay)
            self.server.sendall(message)
        elif kind in (b"S", b"Q"):
            self._spoil(self.spoiling)
            self.spoiling = None

    def _spoil(self, fault: SqlFault) -> None:
        """Answer a statement in place of the server, as the SQL fault says.

        The client gets an error, gets no answer at all, or loses the connection.
        """
        if fault.kind == "lost":
            raise EOFError
        if fault.kind == "hang":
            return
        code, words = WORDS[fault.kind]
        fields = b"".join(f"{name}{value}\0".encode() for name, value in (("S", "ERROR"), ("C", code), ("M", words)))
        error = b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"
        # A transaction that has seen an error takes nothing but its end; the server's own knows nothing of it.
        status = b"E" if self.status != b"I" else b"I"
        self.client.sendall(error + b"Z\x00\x00\x00\x05" + status)
