"""An account at a named API server: files with secrets and certificates that change, and none of them in a message."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from collectors.target import Auth
from controlplane.errors import ControlPlaneError
from controlplane.traffic.driver import NotSent
from controlplane.traffic.kubernetes.account import RENEW_S, Account
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.login import Login
from tests.contract.notifiers.tls import self_signed
from tests.fakes.kubernetes import ApiServer
from tests.unit.controlplane.traffic.kubernetes.accounts import (
    CHAT,
    SECRET,
    Clock,
    no_secret_is_logged,  # noqa: F401 - a fixture of every test
    token,
)

SERVER = "https://10.96.0.1:6443"
OTHER = "b3RoZXItdG9rZW4tb2YtdGhlLXNhbWU"


def account_of(auth: Auth | None, clock: Clock) -> Account:
    return Account(None, None, login=Login(SERVER + "/", auth), monotonic=clock)


async def fault(account: Account) -> str:
    with pytest.raises(NotSent) as caught:
        await account.client()
    assert SECRET not in str(caught.value)
    return str(caught.value)


async def test_a_token_file_that_rotates_is_read_again(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", Clock()
    file.write_text(f"{SECRET}\n")
    account = account_of(Auth(credentials_file=str(file)), clock)
    client, reading = await account.client()
    assert (client.configuration.host, client.configuration.verify_ssl, reading) == (SERVER, True, 1)
    assert await token(account) == (f"Bearer {SECRET}", 1)
    file.write_text(OTHER)
    assert await token(account) == (f"Bearer {SECRET}", 1)  # the readings are RENEW_S apart
    clock.now += RENEW_S
    assert await token(account) == (f"Bearer {OTHER}", 2)
    clock.now += RENEW_S
    assert await token(account) == (f"Bearer {OTHER}", 2)
    await account.close()


async def test_a_certificate_is_shown_and_a_renewed_one_is_read(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    clock = Clock()
    account = account_of(Auth(ca_file=str(cert), cert_file=str(cert), key_file=str(key), server_name="api"), clock)
    client, reading = await account.client()
    found = client.configuration
    assert (found.cert_file, found.key_file, found.tls_server_name, reading) == (str(cert), str(key), "api", 1)
    cert.write_bytes(cert.read_bytes() + b"\n")
    clock.now += RENEW_S
    assert (await account.client())[1] == 2
    await account.close()


async def test_a_token_file_that_is_gone_is_told_until_it_is_back(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", Clock()
    account = account_of(Auth(credentials_file=str(file)), clock)
    told = f"the API server {SERVER}/ was not asked: cannot read the credentials file {file}: No such file or directory"
    assert await fault(account) == told
    file.write_text(SECRET)
    clock.now += RENEW_S
    assert await token(account) == (f"Bearer {SECRET}", 1)
    file.unlink()
    clock.now += RENEW_S
    assert [await fault(account), await fault(account)] == [told, told]
    clock.now += RENEW_S
    assert await fault(account) == told
    file.write_text(OTHER)
    assert await fault(account) == told
    clock.now += RENEW_S
    assert await token(account) == (f"Bearer {OTHER}", 2)
    await account.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{SECRET}\n{SECRET}", "holds a line break or another control character"),
        ("\n", "is not set or empty"),
    ],
)
async def test_a_token_file_that_has_no_token(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "token").write_text(text)
    account = account_of(Auth(credentials_file=str(tmp_path / "token")), Clock())
    assert words in await fault(account)


async def test_a_password_file_is_read_again(tmp_path: Path) -> None:
    file, clock = tmp_path / "password", Clock()
    file.write_text("one")
    account = account_of(Auth(username="u", password_file=str(file)), clock)
    assert await token(account) == ("Basic dTpvbmU=", 1)
    file.write_text("three")
    clock.now += RENEW_S
    assert await token(account) == ("Basic dTp0aHJlZQ==", 2)
    await account.close()


async def test_a_server_may_be_asked_without_credentials() -> None:
    for auth in (None, Auth(insecure_skip_verify=True)):
        account = account_of(auth, Clock())
        client, _ = await account.client()
        assert (client.configuration.api_key, client.configuration.verify_ssl) == ({}, auth is None)
        await account.close()


async def test_a_ca_file_that_changes_is_used_at_the_next_call(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    certificate, key = self_signed(tmp_path / "a")
    other, _ = self_signed(tmp_path / "b")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    ca, clock = tmp_path / "ca.crt", Clock()
    ca.write_bytes(other.read_bytes())
    async with ApiServer(namespaces=("llm",), tls=tls) as api:
        api.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": "llm"},
                 "spec": {"ports": [{"port": 80}]}})  # fmt: skip
        auth = Auth(inline=api.token(), ca_file=str(ca))
        cluster = Cluster(None, None, login=Login(api.url, auth), monotonic=clock)
        with pytest.raises(NotSent, match="TLS certificate refused: self-signed certificate"):
            await cluster.get(CHAT)
        ca.write_bytes(certificate.read_bytes() + b"\n")
        clock.now += RENEW_S
        assert (await cluster.get(CHAT))["metadata"]["name"] == "chat"
        ca.write_text("rubbish")
        clock.now += RENEW_S
        for _ in range(2):
            with pytest.raises(ControlPlaneError, match="has certificates that cannot be used"):
                await cluster.get(CHAT)
        ca.write_bytes(certificate.read_bytes())
        clock.now += RENEW_S
        assert (await cluster.get(CHAT))["metadata"]["name"] == "chat"
        await cluster.close()
