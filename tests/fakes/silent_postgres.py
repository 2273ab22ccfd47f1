"""A PostgreSQL that can fall silent: a relay before its socket that takes connections and passes nothing on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = ".s.PGSQL.5432"


class SilentPostgres:
    """Listens in `folder`, relays to the server whose socket lies in `server`. `talks` is cleared to silence it."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self._server = folder, server
        self.talks = threading.Event()
        self.talks.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / NAME))
        self._listener.listen()
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def stop(self) -> None:
        self.talks.set()
        for end in self._open:
            _end(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server / NAME))
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.talks.wait()
                sink.sendall(data)
        _end(sink)


def _end(end: socket.socket) -> None:
    """End a connection in both directions, whatever waits on it."""
    with suppress(OSError):  # it has ended
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def silent_postgres(folder: Path, server: Path) -> Iterator[SilentPostgres]:
    """Relay until the block is left."""
    relay = SilentPostgres(folder, server)
    try:
        yield relay
    finally:
        relay.stop()
