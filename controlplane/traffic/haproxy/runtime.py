"""HAProxy's runtime API over its stats socket: one command a connection, bounded answers, every wait with a deadline.

HAProxy answers a command that changes something with an empty line, and a fault with text. It closes the connection
after its answer.
"""

from __future__ import annotations

import asyncio
import os

from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused, NotSent
from controlplane.traffic.words import told

MAX_BYTES = 8 * 2**20
"""Maximum size of an answer. Chosen: one row of `show stat` has about 500 bytes, so some 16,000 servers."""
_DENIED = "Permission denied"


class RuntimeApi:
    """The stats socket of one HAProxy: a path, or host:port."""

    def __init__(self, address: str, timeout_s: float = 5.0) -> None:
        """`timeout_s` is the deadline of one command with its answer."""
        self.address, self._timeout_s = address, timeout_s

    async def ask(self, command: str) -> str:
        """Return the answer to a command that reads.

        Raises NotSent when HAProxy did not get the command, Unavailable when no whole answer came, and EngineRefused
        when the socket's level does not allow it.
        """
        answer = await self._exchange(command)
        if answer.startswith(_DENIED):
            raise EngineRefused(
                f"{self.address} refused {command!r} ({told(answer)}); give the socket `level admin` in HAProxy's "
                "configuration: stats socket PATH mode 660 level admin"
            )
        return answer

    async def order(self, *commands: str) -> None:
        """Carry out commands that change something, one after another on one connection.

        Raises EngineRefused with HAProxy's words for the first fault. Commands before and after it may have taken
        effect: read the result. Raises NotSent and Unavailable as `ask` does.
        """
        if not commands:
            return
        answer = await self.ask("; ".join(commands))
        if words := told(answer):
            raise EngineRefused(f"{self.address}: {words}")

    async def _exchange(self, command: str) -> str:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._converse(command)
        except TimeoutError as error:
            raise Unavailable(f"{self.address} did not answer {command!r} within {self._timeout_s:g} s") from error

    async def _converse(self, command: str) -> str:
        reader, writer = await self._connect(command)
        try:
            writer.write(command.encode() + b"\n")
            await writer.drain()
            answer = await self._read(reader, command)
        except OSError as error:
            raise Unavailable(f"{self.address} broke off at {command!r}: {told(str(error))}") from error
        finally:
            writer.close()
        # Every answer ends with an empty line. Another end means that HAProxy stopped in the middle of it.
        if answer != "\n" and not answer.endswith("\n\n"):
            shown = f"after {len(answer)} bytes" if answer else "without an answer"
            raise Unavailable(f"{self.address} closed the connection {shown} to {command!r}")
        return answer

    async def _read(self, reader: asyncio.StreamReader, command: str) -> str:
        chunks: list[bytes] = []
        size = 0
        while chunk := await reader.read(65536):
            size += len(chunk)
            if size > MAX_BYTES:
                raise Unavailable(f"{self.address} answered {command!r} with more than {MAX_BYTES} bytes")
            chunks.append(chunk)
        return b"".join(chunks).decode("utf-8", "replace")

    async def _connect(self, command: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            if self.address.startswith("/"):
                return await asyncio.open_unix_connection(self.address)
            host, _, port = self.address.rpartition(":")
            return await asyncio.open_connection(host.strip("[]"), int(port))
        except FileNotFoundError as error:
            raise NotSent(
                f"the stats socket {self.address} does not exist; is HAProxy running here, and does its `global` "
                f"section have `stats socket {self.address} level admin`?"
            ) from error
        except PermissionError as error:
            raise NotSent(
                f"the stats socket {self.address} may not be opened by this account (user id {os.geteuid()}); give it "
                "`mode 660 group GROUP` in HAProxy's configuration, and make this account a member of that group"
            ) from error
        except ConnectionRefusedError as error:
            raise NotSent(f"nothing listens on the stats socket {self.address}; is HAProxy running?") from error
        except OSError as error:
            raise NotSent(f"{self.address} was not asked {command!r}: {told(str(error))}") from error
