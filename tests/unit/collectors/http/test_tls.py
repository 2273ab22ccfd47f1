"""TLS of the HTTP clients of the collectors: certificates that they accept, and those that they show."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alerts.errors import DeliveryFailed
from collectors.errors import ScrapeError, Unreachable
from collectors.http.fetch import HttpSource
from collectors.http.tls import verification
from collectors.target import Auth
from controlplane.errors import Unavailable
from tests.contract.notifiers.tls import self_signed
from tests.fakes.asking import Asks, posted, remote
from tests.unit.collectors.http.test_fetch import answering, failure, read, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=target"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_a_certificate_is_checked_unless_told_otherwise(
    tls: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    async with serving(answering(b"up 1\n"), tls) as url:
        refused = await failure(url)
        assert isinstance(refused, Unreachable)
        assert str(refused).startswith("TLS certificate refused: self-signed certificate")
        wrong_name = await failure(url.replace("127.0.0.1", "localhost"), Auth(ca_file=str(certificate[0])))
        assert "TLS certificate refused" in str(wrong_name)
        assert await read(url, Auth(ca_file=str(certificate[0]))) == b"up 1\n"
        assert await read(url, Auth(insecure_skip_verify=True)) == b"up 1\n"


async def test_a_rotated_ca_file_is_loaded_again(
    tls: ssl.SSLContext, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    async with serving(answering(b"up 1\n"), tls) as url:
        source = HttpSource(url, Auth(ca_file=str(ca)))
        with pytest.raises(ScrapeError, match=r"cannot read the CA file .*ca\.pem: No such file"):
            await source.read(5)
        ca.write_text("nonsense")
        with pytest.raises(ScrapeError, match=r"the CA file .*ca\.pem holds no PEM certificate"):
            await source.read(5)
        ca.write_bytes(certificate[0].read_bytes())
        assert await source.read(5) == b"up 1\n"
        await source.close()


async def test_an_authority_may_be_a_text_and_another_one_takes_effect(
    tls: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    async with serving(answering(b"up 1\n"), tls) as url:
        assert await read(url, Auth(ca=certificate[0].read_text())) == b"up 1\n"
        begin, end = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"
        for text in ("nonsense", "Főtanúsítvány", f"{begin}AAAA{end}", f"{begin}ő{end}", begin, begin + begin + end):
            wrong = await failure(url, Auth(ca=text))
            assert str(wrong) == "the authority (ca) in the settings is no PEM certificate"


async def test_the_text_of_an_authority_may_have_comments_in_any_language(
    tls: ssl.SSLContext, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    other = self_signed(tmp_path)[0].read_text()
    bundle = f"# Főtanúsítvány\n{other}\n# 根证书\n{certificate[0].read_text()}# – vége –\n"
    async with serving(answering(b"up 1\n"), tls) as url:
        assert await read(url, Auth(ca=bundle)) == b"up 1\n"
        assert isinstance(await failure(url, Auth(ca=f"# ő\n{other}")), Unreachable)


@pytest.fixture
def mutual(tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """A server that asks its clients for a certificate."""
    tls.load_verify_locations(certificate[0])
    tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def made_by_openssl(folder: Path, *words: str) -> tuple[Path, Path]:
    """Return a certificate and its key."""
    cert, key = folder / "other.pem", folder / "other.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 30 -subj /CN=other"
    subprocess.run([*command.split(), *words, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def test_a_certificate_is_shown_to_a_server_that_asks_for_one(
    mutual: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    cert, key = map(str, certificate)
    async with serving(answering(b"up 1\n"), mutual) as url:
        assert await read(url, Auth(ca_file=cert, cert_file=cert, key_file=key)) == b"up 1\n"
        assert await read(url, Auth(insecure_skip_verify=True, cert_file=cert, key_file=key)) == b"up 1\n"
        assert isinstance(await failure(url, Auth(ca_file=cert)), ScrapeError)


async def test_a_renewed_certificate_is_shown_without_a_restart(
    mutual: ssl.SSLContext, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    async with serving(answering(b"up 1\n"), mutual) as url:
        source = HttpSource(url, Auth(ca_file=str(certificate[0]), cert_file=str(cert), key_file=str(key)))
        with pytest.raises(ScrapeError, match=r"cannot read the certificate file .*tls\.crt: No such file"):
            await source.read(5)
        cert.write_bytes(certificate[0].read_bytes())
        with pytest.raises(ScrapeError, match=r"cannot read the key file .*tls\.key: No such file"):
            await source.read(5)
        other, _ = made_by_openssl(tmp_path, "-nodes")
        key.write_bytes(certificate[1].read_bytes())
        cert.write_bytes(other.read_bytes())
        with pytest.raises(
            ScrapeError, match=r"the certificate .*tls\.crt and its key .*tls\.key cannot be used together"
        ):
            await source.read(5)
        cert.write_bytes(certificate[0].read_bytes() + b"\n")
        assert await source.read(5) == b"up 1\n"
        await source.close()


@pytest.mark.parametrize("texts", [("cert", "key"), ("cert",), ("key",)])
async def test_a_certificate_and_its_key_may_be_texts(
    mutual: ssl.SSLContext, certificate: tuple[Path, Path], texts: tuple[str, ...]
) -> None:
    files = dict(zip(("cert", "key"), certificate, strict=True))
    own: dict[str, Any] = {name: file.read_text() for name, file in files.items() if name in texts}
    own |= {f"{name}_file": str(file) for name, file in files.items() if name not in texts}
    async with serving(answering(b"up 1\n"), mutual) as url:
        assert await read(url, Auth(ca=files["cert"].read_text(), **own)) == b"up 1\n"


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory are Linux's")
def test_texts_leave_no_file_open(certificate: tuple[Path, Path]) -> None:
    cert, key = (file.read_text() for file in certificate)
    assert verification(Auth(cert=cert, key=key, ca=cert))
    open_files = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    assert not [name for name in open_files if "memfd:pem" in str(name)]


async def test_a_text_that_is_no_certificate_is_told_without_it(certificate: tuple[Path, Path]) -> None:
    caught = await failure("https://127.0.0.1:9/", Auth(cert="s3cret", key=certificate[1].read_text()))
    assert str(caught).startswith("the certificate (cert) and its key (key) cannot be used together")
    assert "s3cret" not in str(caught)


async def test_a_key_with_a_passphrase_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    cert, key = made_by_openssl(tmp_path, "-passout", "pass:secret")
    caught = await failure("https://127.0.0.1:9/", Auth(cert_file=str(cert), key_file=str(key)))
    assert str(caught).endswith("expected PEM, a key without a passphrase, and the key of that certificate")


async def test_a_certificate_may_be_of_another_name_than_the_address(tmp_path: Path) -> None:
    cert, key = made_by_openssl(tmp_path, "-nodes", "-addext", "subjectAltName=DNS:vllm.internal")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serving(answering(b"up 1\n"), context) as url:
        assert "TLS certificate refused" in str(await failure(url, Auth(ca_file=str(cert))))
        assert await read(url, Auth(ca_file=str(cert), server_name="vllm.internal")) == b"up 1\n"
        assert "TLS certificate refused" in str(await failure(url, Auth(ca_file=str(cert), server_name="other")))


@pytest.mark.parametrize("asks", [remote, posted])
async def test_other_clients_accept_that_name_too(tmp_path: Path, asks: Asks) -> None:
    cert, key = made_by_openssl(tmp_path, "-nodes", "-addext", "subjectAltName=DNS:vllm.internal")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serving(answering(b"up 1\n"), context) as url:
        assert await asks(url, Auth(ca_file=str(cert), server_name="vllm.internal")) == 200
        with pytest.raises((Unavailable, DeliveryFailed), match="certificate"):
            await asks(url, Auth(ca_file=str(cert)))
