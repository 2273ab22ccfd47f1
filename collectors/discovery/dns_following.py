"""Asks name servers for the records of dns_sd, over UDP, and over TCP where an answer is truncated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from collectors.discovery.asking import Follower, Hears
from collectors.discovery.dns_records import entries_of
from collectors.discovery.dns_sd import DnsSd
from collectors.discovery.entries import Entry
from collectors.discovery.polling import Means, poll
from collectors.discovery.resolv_conf import ResolvConf, names_of, read_resolv_conf
from collectors.errors import DiscoveryError

SERVER_WAIT_S = 2.0
"""Maximum seconds for one answer of a server, as in Prometheus."""
NAME_WAIT_S = 30.0
"""Maximum seconds for all questions about a name. Chosen: three servers and a search list of four."""
_UDP_BYTES = 4096
"""Size of answers over UDP that is offered to servers, as in Prometheus."""
_AT_ONCE = 16
"""Number of names that are asked for at the same time. Chosen: far below the open files of a process."""
_ERRORS = (dns.exception.DNSException, OSError, EOFError, ValueError)
"""The errors of one question: timeouts, servers that are not there, and answers that are none."""


class _NoAnswer(Exception):
    """No server gave a usable answer; the message says what each did."""


def dns_follower(sd: DnsSd, means: Means, read: Callable[[], ResolvConf] = read_resolv_conf) -> Follower:
    """Return what asks for all names at the interval. `read` returns the name servers at each question. Blocking.

    A name that cannot be resolved keeps its last list, and affects no other name.
    """

    async def follow(heard: Hears) -> None:
        lists: dict[str, tuple[Entry, ...]] = {}
        told: tuple[Entry, ...] | None = None

        async def ask(heard: Hears) -> None:
            nonlocal told
            conf = await means.in_thread(read)
            at_once = asyncio.Semaphore(_AT_ONCE)

            async def one(name: str) -> str:
                async with at_once:
                    try:
                        lists[name] = entries_of(sd, name, await _looked_up(sd, name, conf))
                    except _NoAnswer as error:
                        return f"DNS {sd.type} {name}: {error}"
                return ""

            faults = [fault for fault in await asyncio.gather(*map(one, sd.names)) if fault]
            entries = tuple(entry for name in sd.names for entry in lists.get(name, ()))
            if lists and (entries != told or not faults):
                told = entries
                heard.took(entries, same_as=entries)
            if faults:
                more = f" (and {len(faults) - 1} more names)" if len(faults) > 1 else ""
                raise DiscoveryError(f"{faults[0]}{more}")

        await poll(ask, heard, sd.refresh_interval_s, means)

    return follow


async def _looked_up(sd: DnsSd, name: str, conf: ResolvConf) -> dns.message.Message:
    """Return the first good answer of the search list, or an empty one where every name of it does not exist.

    Raises _NoAnswer where that is not known of one of them.
    """
    if not conf.servers:
        raise _NoAnswer("resolv.conf names no nameserver")
    unknown: _NoAnswer | None = None
    try:
        async with asyncio.timeout(NAME_WAIT_S):
            for complete in names_of(conf, name):
                try:
                    answer = await _from_any_server(sd, complete, conf)
                except _NoAnswer as error:
                    unknown = unknown or error
                    continue
                if answer.rcode() == dns.rcode.NOERROR:
                    return answer
    except TimeoutError:
        raise _NoAnswer(f"no answer within {NAME_WAIT_S:g} s") from None
    if unknown:
        raise unknown
    return dns.message.Message()


async def _from_any_server(sd: DnsSd, name: str, conf: ResolvConf) -> dns.message.Message:
    """Return the answer of the first server that knows whether a name exists. Raises _NoAnswer without one."""
    try:
        query = dns.message.make_query(
            dns.name.from_text(name), dns.rdatatype.from_text(sd.type), use_edns=0, payload=_UDP_BYTES
        )
    except _ERRORS:
        raise _NoAnswer(f"{name[:80]!r} is not a name that DNS can hold") from None
    said: list[str] = []
    for server in conf.servers:
        try:
            answer = await _from(server, query, conf.port)
        except _ERRORS as error:
            said.append(f"{server} {_words(error)}")
            continue
        if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return answer
        said.append(f"{server} answered {dns.rcode.to_text(answer.rcode())}")
    raise _NoAnswer(f"{name} is not resolved: {'; '.join(said)}")


async def _from(server: str, query: dns.message.Message, port: int) -> dns.message.Message:
    """Return a server's answer. A datagram that does not answer the question is not taken for the answer."""
    backend = dns.asyncbackend.get_backend("asyncio")
    try:
        return await dns.asyncquery.udp(
            query,
            server,
            SERVER_WAIT_S,
            port,
            ignore_unexpected=True,
            ignore_errors=True,
            raise_on_truncation=True,
            backend=backend,
        )
    except dns.message.Truncated:
        answer = await dns.asyncquery.tcp(query, server, SERVER_WAIT_S, port, backend=backend)
        if answer.flags & dns.flags.TC:
            raise ValueError("is truncated") from None
        return answer


def _words(error: Exception) -> str:
    match error:
        case dns.exception.Timeout() | TimeoutError():
            return f"did not answer within {SERVER_WAIT_S:g} s"
        case ConnectionRefusedError():
            return "refused the connection"
        case OSError():
            return f"cannot be asked ({error.strerror or type(error).__name__})"
        case _:
            return "answered something that is no answer to the question"
