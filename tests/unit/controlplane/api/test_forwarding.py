"""Who really asks: read from the right, and only from proxies that are trusted."""

from __future__ import annotations

import ipaddress
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from controlplane.api.forwarding import MAX_HOPS, Forwarding, client_behind
from controlplane.store.audit import REFUSED, AuditStore
from tests.unit.controlplane.api.conftest import CONFIG

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:1::/48")]
PROXY = ipaddress.ip_address("10.0.0.1")

Pairs = list[tuple[str, str]]


def seen(*pairs: tuple[str, str]) -> tuple[str, str | None]:
    headers = Headers(raw=[(name.encode(), value.encode()) for name, value in pairs])
    hop = client_behind(PROXY, headers, TRUSTED)
    return str(hop.address), hop.scheme


XFF, PROTO, STANDARD = "x-forwarded-for", "x-forwarded-proto", "forwarded"


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([], ("10.0.0.1", None)),
        ([(XFF, "203.0.113.7")], ("203.0.113.7", None)),
        ([(XFF, "203.0.113.7"), (PROTO, "https")], ("203.0.113.7", "https")),
        # What a client wrote itself stands further left.
        ([(XFF, "1.1.1.1, 203.0.113.7")], ("203.0.113.7", None)),
        ([(XFF, "1.1.1.1"), (XFF, "203.0.113.7")], ("203.0.113.7", None)),
        ([(XFF, "10.9.9.9, 203.0.113.7, 10.0.0.2")], ("203.0.113.7", None)),
        ([(XFF, "10.0.0.3, 10.0.0.2")], ("10.0.0.3", None)),
        ([(XFF, "203.0.113.7:4711")], ("203.0.113.7", None)),
        ([(XFF, "2001:db8:2::7")], ("2001:db8:2::7", None)),
        ([(XFF, "[2001:db8:2::7]:4711, 2001:db8:1::9")], ("2001:db8:2::7", None)),
        # What cannot be read ends the walk: nothing left of it was written by who is trusted.
        ([(XFF, "203.0.113.7, unknown")], ("10.0.0.1", None)),
        ([(XFF, "203.0.113.7, , 10.0.0.2")], ("10.0.0.2", None)),
        ([(XFF, "203.0.113.7, evil\x00, 10.0.0.2")], ("10.0.0.2", None)),
        ([(XFF, "")], ("10.0.0.1", None)),
        ([(XFF, "203.0.113.7"), (PROTO, "gopher")], ("203.0.113.7", None)),
        ([(XFF, "203.0.113.7, 10.0.0.2"), (PROTO, "https, http")], ("203.0.113.7", "https")),
        ([(XFF, "203.0.113.7, 10.0.0.2"), (PROTO, "https")], ("203.0.113.7", "https")),
        ([(XFF, "203.0.113.7"), (PROTO, "https, http")], ("203.0.113.7", "http")),
        ([(PROTO, "https")], ("10.0.0.1", None)),
        ([(STANDARD, "for=203.0.113.7;proto=https")], ("203.0.113.7", "https")),
        ([(STANDARD, 'For="[2001:db8:2::7]:4711" ; PROTO=http;by=10.0.0.1')], ("2001:db8:2::7", "http")),
        ([(STANDARD, "for=1.1.1.1, for=203.0.113.7;proto=https, for=10.0.0.2")], ("203.0.113.7", "https")),
        ([(STANDARD, "for=_hidden, for=10.0.0.2")], ("10.0.0.2", None)),
        ([(STANDARD, "for=203.0.113.7;broken, for=10.0.0.2")], ("10.0.0.2", None)),
        ([(STANDARD, 'for="203.0.113.7')], ("10.0.0.1", None)),
        # One of the two was written by the proxy, the other by the client, and nothing tells which.
        ([(XFF, "203.0.113.7"), (STANDARD, "for=1.1.1.1;proto=https")], ("10.0.0.1", None)),
        ([(XFF, "203.0.113.7"), (STANDARD, "for=203.0.113.7")], ("203.0.113.7", None)),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(
    headers: Pairs, client: tuple[str, str | None]
) -> None:
    assert seen(*headers) == client


def test_a_chain_is_followed_so_far_and_no_further() -> None:
    proxies = ", ".join(["10.0.0.2"] * MAX_HOPS)
    assert seen((XFF, f"203.0.113.7, {proxies}")) == ("10.0.0.2", None)


async def through(scope: dict[str, Any], trusted: list[Any]) -> dict[str, Any]:
    seen_scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen_scopes.append(scope)

    await Forwarding(app, lambda: trusted)(scope, None, None)  # type: ignore[arg-type]
    (found,) = seen_scopes
    return dict(found)


@pytest.mark.parametrize(
    ("peer", "trusted", "client"),
    [
        (("10.0.0.1", 5000), TRUSTED, ("203.0.113.7", 0)),
        (("::ffff:10.0.0.1", 5000), TRUSTED, ("203.0.113.7", 0)),
        (("192.0.2.1", 5000), TRUSTED, ("192.0.2.1", 5000)),
        (("10.0.0.1", 5000), [], ("10.0.0.1", 5000)),
        (("a socket", 0), TRUSTED, ("a socket", 0)),
        (None, TRUSTED, None),
    ],
)
async def test_only_a_trusted_peer_is_believed(peer: Any, trusted: list[Any], client: Any) -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "scheme": "http", "client": peer, "headers": headers}
    found = await through(scope, trusted)
    assert (found["client"], found["scheme"]) == (client, "https" if client == ("203.0.113.7", 0) else "http")


def behind_a_proxy(rig: Any, *trusted: str) -> None:
    rig.config = CONFIG.model_copy(update={"trusted_proxies": tuple(map(ipaddress.ip_network, trusted))})


async def guess(client: httpx.AsyncClient, text: str, forwarded: str) -> int:
    headers = {"Authorization": f"Bearer {text}", "X-Forwarded-For": forwarded}
    return (await client.get("/cp/v1/whoami", headers=headers)).status_code


async def test_behind_a_trusted_proxy_a_guesser_holds_up_itself_alone(rig: Any) -> None:
    behind_a_proxy(rig, "127.0.0.1")
    good = rig.role_tokens["viewer"]
    wrong = good[:-64] + "0" * 64
    async with rig.client(None) as client:
        # Whatever the guesser writes itself stands left of what the proxy saw.
        assert [await guess(client, wrong, f"1.1.1.{n}, 203.0.113.7") for n in range(6)] == [401] * 5 + [429]
        assert await guess(client, good, "203.0.113.7") == 429
        assert await guess(client, good, "203.0.113.8") == 200
    await rig.gatekeeper.write()
    (entry,) = (e for e in AuditStore(rig.db).recent(100) if e.action == REFUSED)
    assert entry.detail.startswith("7 attempts at the API from 203.0.113.7 as token")


async def test_without_trust_the_header_is_noise(rig: Any) -> None:
    good = rig.role_tokens["viewer"]
    wrong = good[:-64] + "0" * 64
    async with rig.client(None) as client:
        assert [await guess(client, wrong, f"203.0.113.{n}") for n in range(6)] == [401] * 5 + [429]


async def test_a_throttled_answer_says_when_to_come_back(rig: Any) -> None:
    wrong = rig.role_tokens["viewer"][:-64] + "0" * 64
    async with rig.client(None) as client:
        for _ in range(5):
            await guess(client, wrong, "")
        rig.clock.time += 20
        answer = await client.get("/cp/v1/whoami", headers={"Authorization": f"Bearer {wrong}"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "40")
    assert answer.json()["type"] == "urn:controlplane:problem:throttled"
