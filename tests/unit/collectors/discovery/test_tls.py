"""Lists from servers over TLS: a good certificate, and an untrusted, an expired and another host's one."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collectors.discovery.asking import Follower
from collectors.discovery.consul_following import consul_follower
from collectors.discovery.consul_sd import ConsulSd
from collectors.discovery.docker_following import docker_follower
from collectors.discovery.docker_sd import DockerSd
from collectors.discovery.http_following import http_follower
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.polling import Means
from collectors.target import Auth
from tests.contract.notifiers.tls import self_signed
from tests.fakes.heard import heard_of

CONTAINER = {
    "Id": "c1", "Names": ["/chat"], "HostConfig": {"NetworkMode": "n"}, "Ports": [{"PrivatePort": 1, "Type": "tcp"}],
    "NetworkSettings": {"Networks": {"n": {"NetworkID": "n1", "IPAddress": "h"}}},
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "/containers/json": [CONTAINER],
    "/networks": [{"Id": "n1", "Name": "n"}],
    "/v1/agent/self": {"Config": {"Datacenter": "d"}},
    "/v1/catalog/services": {"chat": []},
    "/v1/health/service/chat": [{"Node": {"Address": "h"}, "Service": {"Port": 1}, "Checks": []}],
    "/list": [{"targets": ["h:1"]}],
}
Made = Callable[[str, Auth, Means], Follower]
SOURCES: dict[str, Made] = {
    "http_sd": lambda at, auth, means: http_follower(HttpSd(f"https://{at}/list", 60.0, auth), means),
    "consul_sd": lambda at, auth, means: consul_follower(ConsulSd(at, "https", auth=auth), means),
    "docker_sd": lambda at, auth, means: docker_follower(DockerSd(f"https://{at}", auth=auth), means),
}
"""What follows a list at a host:port, by the name of its field."""


@asynccontextmanager
async def serving(certificate: tuple[Path, Path]) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(ANSWERS[request.path])

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def heard(certificate: tuple[Path, Path], follower: Made, auth: Auth) -> tuple[list[str], str]:
    """Return the addresses and the fault of the first answer."""
    async with serving(certificate) as at, heard_of(lambda means: follower(at, auth, means)) as found:
        return found.addresses, found.error.replace(at, "AT")


@pytest.mark.parametrize("source", SOURCES)
async def test_a_certificate_of_a_trusted_authority_is_taken(tmp_path: Path, source: str) -> None:
    certificate = self_signed(tmp_path)
    for auth in (Auth(ca_file=str(certificate[0])), Auth(ca=certificate[0].read_text())):
        assert await heard(certificate, SOURCES[source], auth) == (["h:1"], "")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("made", "trusted", "why"),
    [
        ({}, False, "self-signed certificate"),
        ({"days": -1}, True, "certificate has expired"),
        ({"ip": "127.0.0.2"}, True, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ],
    ids=["untrusted", "expired", "another host"],
)
async def test_another_certificate_is_refused_in_words(
    tmp_path: Path, source: str, made: dict[str, Any], trusted: bool, why: str
) -> None:
    certificate = self_signed(tmp_path, **made)
    addresses, error = await heard(
        certificate, SOURCES[source], Auth(ca_file=str(certificate[0])) if trusted else Auth()
    )
    assert addresses == []
    assert "TLS certificate refused: " in error
    assert why in error
    assert (await heard(certificate, SOURCES[source], Auth(insecure_skip_verify=True)))[0] == ["h:1"]


@pytest.mark.parametrize("source", SOURCES)
async def test_an_authority_that_is_none_is_named(tmp_path: Path, source: str) -> None:
    certificate = self_signed(tmp_path)
    (tmp_path / "ca.pem").write_text("nonsense")
    _, error = await heard(certificate, SOURCES[source], Auth(ca_file=str(tmp_path / "ca.pem")))
    assert error.endswith(f"the CA file {tmp_path}/ca.pem holds no PEM certificate")
    _, error = await heard(certificate, SOURCES[source], Auth(ca_file=str(tmp_path / "gone.pem")))
    assert error.endswith(f"cannot read the CA file {tmp_path}/gone.pem: No such file or directory")
