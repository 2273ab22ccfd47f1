"""What holds for every status source: one deadline, bounds, errors that name the cause, credentials."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from collectors.errors import (
    BodyTooLarge,
    ExpositionError,
    ScrapeError,
    ScrapeTimeout,
    UnexpectedStatus,
    Unreachable,
)
from collectors.status.sources import STATUS_SOURCES
from collectors.target import Auth, Remarking
from tests.fakes.api_server import api_server
from tests.fakes.status_reading import read_once, source_of
from tests.patience import HANG_S

FIRST = {"ollama": "GET /api/version", "fastchat": "POST /list_models", "mii": "GET /v1/models"}
"""The first path of each whose body counts."""
GOOD = {"GET /health": {"status": "ok"}}
ENGINES = tuple(FIRST)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_server_that_hangs_ends_at_the_deadline(engine: str) -> None:
    async with api_server() as server:
        server.answers = GOOD | {FIRST[engine]: "hang"}
        with pytest.raises(ScrapeTimeout, match=rf"^timed out after 0.2s \(asking {FIRST[engine].split()[1]}\)$"):
            await read_once(engine, server.url, 0.2)


@pytest.mark.parametrize("engine", ["ollama", "fastchat"])
@pytest.mark.parametrize("status", [500, 302, 401, 503])
async def test_another_status(engine: str, status: int) -> None:
    async with api_server() as server:
        server.answers = {FIRST[engine]: status}
        with pytest.raises(UnexpectedStatus, match=rf"^{FIRST[engine].split()[1]} answered {status} "):
            await read_once(engine, server.url)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("body", ["<html>sign in</html>", "", "[" * 100_000, b"\xff\xfe{", "{"])
async def test_a_body_that_is_not_json(engine: str, body: str | bytes) -> None:
    async with api_server() as server:
        server.answers = GOOD | {FIRST[engine]: body}
        with pytest.raises(ExpositionError, match=r"answered something else than JSON"):
            await read_once(engine, server.url)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_body_that_is_too_large(engine: str) -> None:
    async with api_server() as server:
        server.answers = GOOD | {FIRST[engine]: "7" * 10_001}
        with pytest.raises(BodyTooLarge, match="10000 bytes"):
            await read_once(engine, server.url, max_body_bytes=10_000)


async def test_a_compressed_body_is_bounded_inflated() -> None:
    async with api_server() as server:
        packed = zlib.compressobj(wbits=31)
        bomb = packed.compress(b"7" * 5_000_000) + packed.flush()
        server.answers, server.headers = {"POST /list_models": bomb}, {"Content-Encoding": "gzip"}
        with pytest.raises(BodyTooLarge):
            await read_once("fastchat", server.url, max_body_bytes=10_000)
        packed = zlib.compressobj(wbits=31)
        server.answers = {"POST /list_models": packed.compress(b'{"models": []}') + packed.flush()}
        assert await read_once("fastchat", server.url) == {("fastchat_controller_models",): 0}


@pytest.mark.parametrize("engine", STATUS_SOURCES)
async def test_a_server_that_is_away_and_comes_back(engine: str) -> None:
    async with api_server() as server:
        source = source_of(engine, server.url)
        await server.stop()
        with pytest.raises(Unreachable, match=r"^connection refused$"):
            await source.read(HANG_S)
        await server.start()
        with pytest.raises(UnexpectedStatus):
            await source.read(HANG_S)
        await source.close()


@pytest.mark.parametrize("engine", STATUS_SOURCES)
@pytest.mark.parametrize("url", ["http://[::1/", "ftp://h/", "http://", "no url"])
async def test_a_url_that_cannot_be_used(engine: str, url: str) -> None:
    with pytest.raises(Unreachable, match="not a usable URL"):
        await read_once(engine, url)


@pytest.mark.parametrize("engine", STATUS_SOURCES)
async def test_credentials_go_with_every_request(engine: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    auth = Auth(credentials_file=str(tmp_path / "key"))
    async with api_server() as server:
        server.answers = {"GET /props": {"role": "router"}}
        with pytest.raises(ScrapeError) as caught:
            await read_once(engine, server.url, auth=auth)
        assert "secret" not in str(caught.value)
        assert len(server.authorizations) >= 1 and set(server.authorizations) == {"Bearer secret"}


async def test_credentials_in_the_url_and_a_query() -> None:
    async with api_server() as server:
        server.answers = {"POST /list_models": {"models": []}}
        url = server.url.replace("http://", "http://me:pw@") + "/?tenant=a%20b"
        await read_once("fastchat", url)
        assert server.asked == ["POST /list_models?tenant=a%20b"]
        assert server.authorizations == ["Basic bWU6cHc="]


@pytest.mark.parametrize("engine", STATUS_SOURCES)
async def test_every_source_can_have_a_remark(engine: str) -> None:
    source = source_of(engine, "http://127.0.0.1:1/")
    assert isinstance(source, Remarking) and source.remark == ""
    await source.close()
