"""TLS of the listener and of engines, with certificates that change while the gateway runs."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.gateway.errors import BadTls
from controlplane.gateway.request import Outcome
from controlplane.gateway.wire.settings import TlsFiles
from controlplane.gateway.wire.tls import Trust, UpstreamTls, listener_context
from tests.fakes.engine import ANSWER, DONE, TOKEN, FakeEngine, dies_after, held, stream, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import Broken, post
from tests.patience import HANG_S, until

CHAT = {"model": "chat"}
STREAM = {"model": "chat", "stream": True}


@dataclass(frozen=True)
class Certificate:
    """A certificate that signed itself, for 127.0.0.1."""

    cert: Path
    key: Path


def certificate(folder: Path, name: str, subject: str = "IP:127.0.0.1", passphrase: str = "") -> Certificate:
    """Make a certificate."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 30 "
        f"{f'-passout pass:{passphrase}' if passphrase else '-nodes'} "
        f"-subj /CN={name} -addext subjectAltName={subject} -keyout {made.key} -out {made.cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("first"), "first")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("second"), "second")


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine(whole()) as engine:
        yield engine


def trusting(*authorities: Certificate, own: Certificate | None = None) -> ssl.SSLContext:
    """Return a client's context."""
    context = ssl.create_default_context()
    for authority in authorities:
        context.load_verify_locations(authority.cert)
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    return context


def installed(folder: Path, source: Certificate) -> TlsFiles:
    """Copy a certificate to the files of the listener."""
    files = TlsFiles(str(folder / "tls.crt"), str(folder / "tls.key"))
    Path(files.cert_file).write_bytes(source.cert.read_bytes())
    Path(files.key_file).write_bytes(source.key.read_bytes())
    return files


async def test_a_client_is_served_over_tls(engine: FakeEngine, first: Certificate, tmp_path: Path) -> None:
    async with Gateway(model(backend(engine.url)), tls=installed(tmp_path, first)) as gateway:
        async with await gateway.connect(ssl=trusting(first)) as client:
            for _ in range(2):
                assert (await client.ask(post(CHAT))).body == ANSWER
        assert engine.requests[0].headers["x-forwarded-proto"] == "https"
        await gateway.record(2)


async def test_a_refusal_in_the_middle_of_a_body_reaches_a_client_of_tls(
    engine: FakeEngine, first: Certificate, tmp_path: Path
) -> None:
    served = Gateway(model(backend(engine.url)), tls=installed(tmp_path, first))
    async with served as gateway, await gateway.connect(ssl=trusting(first)) as client:
        await client.send(b"POST /v1/nothing HTTP/1.1\r\nHost: g\r\nContent-Length: 999999\r\n\r\n")
        assert (await client.answer()).status == 404


async def test_a_broken_stream_over_tls_does_not_look_finished(
    engine: FakeEngine, first: Certificate, tmp_path: Path
) -> None:
    engine.script = [dies_after(TOKEN)]
    served = Gateway(model(backend(engine.url)), tls=installed(tmp_path, first))
    async with served as gateway, await gateway.connect(ssl=trusting(first)) as client:
        await client.send(post(STREAM))
        with pytest.raises(Broken) as broken:
            await client.answer()
        assert b'"error"' in broken.value.body
        assert (await gateway.record()).outcome is Outcome.CUT


async def test_a_client_of_tls_that_leaves_frees_its_engine(
    engine: FakeEngine, first: Certificate, tmp_path: Path
) -> None:
    began = asyncio.Event()
    engine.script = [held(began, TOKEN)]
    async with Gateway(model(backend(engine.url)), tls=installed(tmp_path, first)) as gateway:
        client = await gateway.connect(ssl=trusting(first))
        await client.send(post(STREAM))
        await client.until(TOKEN)
        client.close()
        await until(lambda: engine.left == 1)
        assert (await gateway.record()).outcome is Outcome.ABORTED


async def test_a_new_certificate_is_served_and_open_streams_go_on(
    engine: FakeEngine, first: Certificate, second: Certificate, tmp_path: Path
) -> None:
    served = Gateway(model(backend(engine.url)), tls=installed(tmp_path, first))
    async with served as gateway, await gateway.connect(ssl=trusting(first)) as old:
        assert (await old.ask(post(CHAT))).status == 200
        installed(tmp_path, second)
        gateway.clock.advance(5)
        await until_served(gateway, second)
        with pytest.raises(ssl.SSLCertVerificationError):
            await gateway.connect(ssl=trusting(first))
        assert (await old.ask(post(CHAT))).status == 200


async def until_served(gateway: Gateway, certificate: Certificate) -> None:
    """Return once a client that trusts only this certificate is served."""
    async with asyncio.timeout(HANG_S):
        while True:
            try:
                async with await gateway.connect(ssl=trusting(certificate)) as client:
                    assert (await client.ask(post(CHAT))).status == 200
                    return
            except ssl.SSLCertVerificationError:
                await asyncio.sleep(0.01)


async def test_a_certificate_that_cannot_be_used_changes_nothing(
    engine: FakeEngine, first: Certificate, second: Certificate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = installed(tmp_path, first)
    async with Gateway(model(backend(engine.url)), tls=files) as gateway:
        (tmp_path / "tls.crt").write_bytes(second.cert.read_bytes())  # the key is still the old one's
        gateway.clock.advance(5)
        gateway.clock.advance(5)
        assert caplog.text.count("keeps its certificate") == 1
        async with await gateway.connect(ssl=trusting(first)) as client:
            assert (await client.ask(post(CHAT))).status == 200
        (tmp_path / "tls.key").unlink()
        gateway.clock.advance(5)
        async with await gateway.connect(ssl=trusting(first)) as client:
            assert (await client.ask(post(CHAT))).status == 200
        installed(tmp_path, second)
        gateway.clock.advance(5)
        await until_served(gateway, second)


async def test_clients_may_have_to_show_a_certificate(
    engine: FakeEngine, first: Certificate, second: Certificate, tmp_path: Path
) -> None:
    files = installed(tmp_path, first)
    files = TlsFiles(files.cert_file, files.key_file, str(second.cert))
    async with Gateway(model(backend(engine.url)), tls=files) as gateway:
        async with await gateway.connect(ssl=trusting(first, own=second)) as client:
            assert (await client.ask(post(CHAT))).status == 200
        with pytest.raises((ssl.SSLError, Broken, ConnectionError)):
            async with await gateway.connect(ssl=trusting(first)) as client:
                await client.ask(post(CHAT))


@pytest.mark.parametrize("missing", ["cert", "key", "both wrong"])
async def test_a_listener_does_not_start_without_its_certificate(
    first: Certificate, second: Certificate, tmp_path: Path, missing: str
) -> None:
    files = installed(tmp_path, first)
    if missing == "both wrong":
        (tmp_path / "tls.key").write_bytes(second.key.read_bytes())
    else:
        (tmp_path / f"tls.{missing.replace('cert', 'crt')}").unlink()
    gateway = Gateway(model(), tls=files)
    with pytest.raises(BadTls, match="certificate of the listener"):
        await gateway.__aenter__()
    await gateway.__aexit__(None, None, None)


# Engines


@asynccontextmanager
async def secure_engine(certificate: Certificate, clients: Certificate | None = None) -> AsyncIterator[FakeEngine]:
    """Yield an engine. With `clients` it asks for that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    if clients is not None:
        context.load_verify_locations(clients.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    async with FakeEngine(whole(), stream(TOKEN, DONE), whole(), tls=context) as engine:
        yield engine


async def test_an_engine_is_asked_over_tls(first: Certificate) -> None:
    async with secure_engine(first) as engine:
        spec = model(backend(engine.url, ca_file=str(first.cert)))
        async with Gateway(spec) as gateway, await gateway.connect() as client:
            assert (await client.ask(post(CHAT))).body == ANSWER
            assert (await client.ask(post(STREAM))).body == TOKEN + DONE
            assert engine.connections == 1


async def test_an_engine_with_another_certificate_is_not_asked(first: Certificate, second: Certificate) -> None:
    async with secure_engine(first) as engine:
        spec = model(backend(engine.url, ca_file=str(second.cert)))
        async with Gateway(spec) as gateway, await gateway.connect() as client:
            answer = await client.ask(post(CHAT))
            assert answer.status == 502
            assert "certificate is not valid" in answer.json["error"]["message"]
            assert (await gateway.record()).reason == "connect"
            assert engine.requests == []


async def test_the_check_of_an_engines_certificate_may_be_off(first: Certificate) -> None:
    async with secure_engine(first) as engine:
        spec = model(backend(engine.url, insecure_skip_verify=True))
        async with Gateway(spec) as gateway, await gateway.connect() as client:
            assert (await client.ask(post(CHAT))).status == 200


async def test_an_engine_without_tls_is_not_asked_over_it(engine: FakeEngine, first: Certificate) -> None:
    spec = model(backend(engine.url.replace("http", "https"), ca_file=str(first.cert)))
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        await client.send(post(CHAT))
        await until(lambda: engine.open)
        gateway.clock.advance(4)  # it waits for a request that it can read
        assert (await client.answer()).status == 502
        assert (await gateway.record()).reason == "connect"


async def test_a_changed_authority_is_read_again(first: Certificate, second: Certificate, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_bytes(second.cert.read_bytes())
    async with secure_engine(first) as engine:
        spec = model(backend(engine.url, ca_file=str(authority)))
        async with Gateway(spec) as gateway, await gateway.connect() as client:
            assert (await client.ask(post(CHAT))).status == 502
            authority.write_bytes(first.cert.read_bytes() + b"\n")
            assert (await client.ask(post(CHAT))).status == 200


def test_an_authority_that_vanishes_is_kept(first: Certificate, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_bytes(first.cert.read_bytes())
    tls, trust = UpstreamTls(), Trust(str(authority))
    context = tls.context(trust)
    assert tls.context(trust) is context
    assert tls.context(Trust(str(authority), insecure=True)) is not context
    authority.unlink()
    assert tls.context(trust) is context
    with pytest.raises(OSError):
        tls.context(Trust(str(tmp_path / "none")))


async def test_a_certificate_is_shown_to_an_engine_that_asks_for_one(first: Certificate) -> None:
    shown = {"ca_file": str(first.cert), "cert_file": str(first.cert), "key_file": str(first.key)}
    async with secure_engine(first, clients=first) as engine:
        async with Gateway(model(backend(engine.url, **shown))) as gateway, await gateway.connect() as client:
            assert (await client.ask(post(CHAT))).body == ANSWER
        spec = model(backend(engine.url, ca_file=str(first.cert)))
        async with Gateway(spec) as gateway, await gateway.connect() as client:
            assert (await client.ask(post(CHAT))).status == 502
            assert len(engine.requests) == 1


async def test_an_engines_certificate_may_be_of_another_name_than_its_address(tmp_path: Path) -> None:
    named = certificate(tmp_path, "named", "DNS:vllm.internal")
    async with secure_engine(named) as engine:
        for name, status in (("", 502), ("other", 502), ("vllm.internal", 200)):
            spec = model(backend(engine.url, ca_file=str(named.cert), server_name=name))
            async with Gateway(spec) as gateway, await gateway.connect() as client:
                assert (await client.ask(post(CHAT))).status == status, name


def test_a_renewed_certificate_that_does_not_fit_its_key_is_not_used(
    first: Certificate, second: Certificate, tmp_path: Path
) -> None:
    own = installed(tmp_path, first)
    tls, trust = UpstreamTls(), Trust(cert_file=own.cert_file, key_file=own.key_file)
    context = tls.context(trust)
    Path(own.cert_file).write_bytes(second.cert.read_bytes())
    assert tls.context(trust) is context
    Path(own.key_file).write_bytes(second.key.read_bytes())
    assert tls.context(trust) is not context


@pytest.mark.parametrize("side", ["engine", "listener"])
def test_a_key_with_a_passphrase_is_refused_and_asks_nobody(tmp_path: Path, side: str) -> None:
    locked = certificate(tmp_path, "locked", passphrase="secret")
    with pytest.raises(OSError) if side == "engine" else pytest.raises(BadTls, match="cannot be used"):
        if side == "engine":
            UpstreamTls().context(Trust(cert_file=str(locked.cert), key_file=str(locked.key)))
        else:
            listener_context(TlsFiles(str(locked.cert), str(locked.key)))
