"""A name server over real UDP and TCP sockets, which can misbehave in the ways that servers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Zone = dict[tuple[str, str], list[str]]
"""Records by complete name and type."""


class DnsServer:
    """Answers from `zone`, which tests change at any time. A name that is not in it does not exist."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.rcode: dns.rcode.Rcode | None = None
        """Answered to every question instead of the truth."""
        self.silent = False
        self.truncates = False
        """Whether answers over UDP are empty and truncated."""
        self.truncates_tcp = False
        self.before: Callable[[bytes], bytes] | None = None
        """Makes a datagram that is sent before the answer, from the answer."""
        self.asked: list[str] = []
        """Transport, name and type of each question."""

    def answers(self, wire: bytes, transport: str) -> list[bytes]:
        query = dns.message.from_wire(wire)
        (question,) = query.question
        name, kind = question.name.to_text(), question.rdtype.name
        self.asked.append(f"{transport} {name} {kind}")
        if self.silent:
            return []
        answer = dns.message.make_response(query)
        if self.rcode is not None:
            answer.set_rcode(self.rcode)
        elif (transport == "udp" and self.truncates) or (transport == "tcp" and self.truncates_tcp):
            answer.flags |= dns.flags.TC
        elif not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        for known, type_ in (
            self.zone if answer.rcode() == dns.rcode.NOERROR and not answer.flags & dns.flags.TC else ()
        ):
            if known == name and type_ in (kind, "CNAME"):
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", type_, *self.zone[known, type_]))
        whole = answer.to_wire()
        return [*([self.before(whole)] if self.before else []), whole]


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for answer in self._server.answers(data, "udp"):
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def dns_server(zone: Zone, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[DnsServer, int]]:
    """Run a server until the block ends. Yields it with its port; 0 takes a free one."""
    server = DnsServer(zone)

    async def tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2))
        for answer in server.answers(await reader.readexactly(size), "tcp"):
            writer.write(len(answer).to_bytes(2) + answer)
        await writer.drain()
        writer.close()

    over_tcp = await asyncio.start_server(tcp, host, port)
    port = over_tcp.sockets[0].getsockname()[1]
    over_udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Udp(server), local_addr=(host, port)
    )
    try:
        yield server, port
    finally:
        over_udp.close()
        over_tcp.close()
        await over_tcp.wait_closed()
