"""The account at an API server: where it is from, and that no message shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from controlplane.traffic.kubernetes.account import Account
from tests.unit.controlplane.traffic.kubernetes.accounts import (
    SECRET,
    fault,
    kubeconfig,
    no_secret_is_logged,  # noqa: F401 - a fixture of every test
    token,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("users: [\n  - {name: u, token: " + SECRET, "it is no YAML (line 2); write it as `kubectl config view --raw` "
         "shows it"),
        ("- a list", "its contents are not those of a kubeconfig (TypeError); try kubectl with it"),
        ("", "its contents are not those of a kubeconfig (TypeError); try kubectl with it"),
        ("a: b", "Invalid kube-config file. Expected key current-context in {file}"),
    ],
)  # fmt: skip
async def test_file_that_is_no_kubeconfig(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    assert await fault(file) == f"{file} gives no account of a cluster: {words.format(file=file)}"


async def test_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "gives no account of a cluster: there is no such file; name one under kubeconfig:, or set KUBECONFIG"
    assert await fault(tmp_path / "none") == f"{tmp_path}/none {missing}"
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    assert await fault(None) == f"{tmp_path}/a:{tmp_path}/b {missing}"
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await fault(None) == f"~/.kube/config {missing}"


async def test_context_that_is_not_there(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, {"token": SECRET})
    assert await fault(file, "prod") == (
        f"{file} gives no account of a cluster: Invalid kube-config file. Expected object with name prod in "
        f"{file}/contexts list"
    )


async def test_token_at_the_wrong_place_is_not_shown(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, {})
    text = yaml.safe_load(file.read_text())
    text["users"] = [{"name": "u", "token": SECRET}]
    file.write_text(yaml.safe_dump(text))
    assert await fault(file) == (
        f"{file} gives no account of a cluster: Invalid kube-config file. Expected key user in {file}/users"
    )


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"tokenFile": "/none/token"}, "[Errno 2] No such file or directory: '/none/token'"),
        (
            {"auth-provider": {"name": "azure", "config": {"access-token": SECRET}}},
            "its user has no credentials that are known here: a token, a certificate, a password, or a program (exec)",
        ),
        ({"exec": {"command": "x"}}, "exec: malformed request. missing key 'apiVersion'"),
    ],
)
async def test_user_without_credentials(user: object, words: str, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, user)
    assert await fault(file) == f"{file} gives no account of a cluster: {words}"


async def test_user_that_needs_none(tmp_path: Path) -> None:
    account = Account(kubeconfig(tmp_path, {}), None)
    assert await token(account) == (None, 1)
    await account.close()


async def test_token_file_may_end_with_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    account = Account(kubeconfig(tmp_path, {"tokenFile": "token"}), None)
    assert await token(account) == (f"Bearer {SECRET}", 1)
    await account.close()


async def test_token_that_no_header_can_carry(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, {"token": f"{SECRET}\n{SECRET}"})
    assert await fault(file) == f"{file} has a token with line breaks or other characters that no token has"


async def test_password_in_the_address_of_the_server(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, {"token": SECRET}, f"https://driver:{SECRET}@127.0.0.1:1")
    assert await fault(file) == f"{file} has a user in the address of its server; put it under users:"


async def test_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("rubbish")
    file = kubeconfig(
        tmp_path, {"token": SECRET}, "https://127.0.0.1:1", **{"certificate-authority": str(tmp_path / "ca.crt")}
    )
    assert (await fault(file)).startswith(f"{file} has certificates that cannot be used: ")
