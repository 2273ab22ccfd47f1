"""The gateway's credentials at engines."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from controlplane.gateway.desired.document import CredentialsSpec
from controlplane.gateway.exchange.credentials import LOOK_AGAIN_S, MAX_BYTES, Credentials


def test_a_token_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("sk-1\n")
    spec = CredentialsSpec(file=str(file))
    credentials = Credentials()
    assert credentials.line(spec, 0.0) == b"authorization: Bearer sk-1\r\n"
    file.write_text("sk-2")
    assert credentials.line(spec, LOOK_AGAIN_S - 1) == b"authorization: Bearer sk-1\r\n"
    assert credentials.line(spec, LOOK_AGAIN_S) == b"authorization: Bearer sk-2\r\n"


def test_a_scheme_and_a_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pässword")
    encoded = base64.b64encode("me:pässword".encode()).decode()
    line = Credentials().line(CredentialsSpec(file=str(file), username="me"), 0.0)
    assert line == f"authorization: Basic {encoded}\r\n".encode()
    line = Credentials().line(CredentialsSpec(scheme="Api-Key", file=str(file)), 0.0)
    assert line == "authorization: Api-Key pässword\r\n".encode()


def test_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "sk-3")
    assert Credentials().line(CredentialsSpec(env="ENGINE_KEY"), 0.0) == b"authorization: Bearer sk-3\r\n"
    monkeypatch.delenv("ENGINE_KEY")
    assert Credentials().line(CredentialsSpec(env="ENGINE_KEY"), 0.0) is None


@pytest.mark.parametrize("bad", [b"", b"a\r\nx: y", b"\xff", b"x" * (MAX_BYTES + 1)])
def test_what_is_no_secret_replaces_no_good_one(tmp_path: Path, bad: bytes) -> None:
    file = tmp_path / "token"
    spec = CredentialsSpec(file=str(file))
    file.write_bytes(bad)
    credentials = Credentials()
    assert credentials.line(spec, 0.0) is None
    file.write_text("good")
    assert credentials.line(spec, 10.0) == b"authorization: Bearer good\r\n"
    file.write_bytes(bad)
    assert credentials.line(spec, 20.0) == b"authorization: Bearer good\r\n"


def test_a_file_that_vanishes_is_named_and_its_secret_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text("sk-secret")
    spec = CredentialsSpec(file=str(file))
    credentials = Credentials()
    credentials.line(spec, 0.0)
    file.unlink()
    assert credentials.line(spec, 10.0) == b"authorization: Bearer sk-secret\r\n"
    credentials.line(spec, 20.0)
    assert caplog.text.count(f"{file} cannot be read") == 1
    assert "sk-secret" not in caplog.text
