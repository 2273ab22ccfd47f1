"""Credentials that end: programs that make them, tokens that are refused, and the pod's own token, which rotates."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from kubernetes.aio.config import incluster_config

from controlplane.traffic.driver import EngineRefused, NotSent
from controlplane.traffic.kubernetes import account as module
from controlplane.traffic.kubernetes.account import RENEW_S, Account
from controlplane.traffic.kubernetes.cluster import Cluster
from tests.fakes.kubernetes import ApiServer
from tests.fakes.kubernetes.rbac import User
from tests.patience import until
from tests.unit.controlplane.traffic.kubernetes.accounts import (
    CHAT,
    SECRET,
    Clock,
    fault,
    kubeconfig,
    made,
    no_secret_is_logged,  # noqa: F401 - a fixture of every test
    program,
    token,
)

OTHER = "b3RoZXItdG9rZW4"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('log in first')", "made no credentials: it ended with status 1: log in first"),
        ("sys.exit(3)", "made no credentials: it ended with status 3: it wrote no reason"),
        (f"print('rubbish {SECRET}')", "wrote neither a token nor a certificate with its key"),
        (f"print('[\"{SECRET}\"]')", "wrote neither a token nor a certificate with its key"),
        (made("{}"), "wrote neither a token nor a certificate with its key"),
        (made(f'{{"clientCertificateData": "{SECRET}"}}'), "wrote neither a token nor a certificate with its key"),
        ("print('x' * 2_000_000)", "made no credentials: {program} wrote more than 1048576 bytes and was killed"),
    ],
)
async def test_program_that_makes_no_credentials(body: str, words: str, tmp_path: Path) -> None:
    user = program(tmp_path, body)
    file = kubeconfig(tmp_path, user)
    told = words.format(program=user["exec"]["command"])
    assert await fault(file) == f"{file} gives no account of a cluster: its program make-token {told}"


async def test_program_that_is_missing(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/none/x"}})
    assert await fault(file) == (
        f"{file} gives no account of a cluster: its program x made no credentials: /none/x could not be started: "
        "[Errno 2] No such file or directory: '/none/x'"
    )


async def test_program_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCOUNT_S", 0.5)
    user = program(tmp_path, "time.sleep(600)")
    command = user["exec"]["command"]
    file = kubeconfig(tmp_path, user)
    assert await fault(file) == (
        f"{file} gives no account of a cluster: its program make-token made no credentials: {command} did not end "
        "within 0.5 s and was killed"
    )
    assert not _is_running(command)


def _is_running(command: str) -> bool:
    """Return whether a process has the command on its command line."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            lines.append(file.read_bytes())
    return any(command.encode() in line for line in lines)


async def test_program_gets_its_arguments_and_environment(tmp_path: Path) -> None:
    status = '{"token": "-".join([sys.argv[1], os.environ["WHO"], os.environ["HOME"][:1]])}'
    info = "assert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['spec'] == {'interactive': False}\n"
    user = program(tmp_path, info + made(status))
    user["exec"] |= {"args": ["one"], "env": [{"name": "WHO", "value": "driver"}]}
    account = Account(kubeconfig(tmp_path, user), None)
    assert await token(account) == ("Bearer one-driver-/", 1)
    await account.close()


async def test_certificate_of_a_program(tmp_path: Path) -> None:
    user = program(tmp_path, made('{"clientCertificateData": "no certificate", "clientKeyData": "no key"}'))
    file = kubeconfig(tmp_path, user, "https://127.0.0.1:1")
    assert (await fault(file)).startswith(f"{file} has certificates that cannot be used: ")


async def test_fault_is_not_looked_for_again_at_once(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    file = kubeconfig(tmp_path, program(tmp_path, f"open('{runs}', 'a').write('x'); sys.exit('log in first')"))
    clock = Clock()
    account = Account(file, None, monotonic=clock)
    for _ in range(3):
        with pytest.raises(NotSent, match="log in first"):
            await account.client()
    clock.now += RENEW_S - 0.1
    with pytest.raises(NotSent, match="log in first"):
        await account.client()
    assert runs.read_text() == "x"
    clock.now += 0.1
    with pytest.raises(NotSent, match="log in first"):
        await account.client()
    assert runs.read_text() == "xx"


async def test_callers_at_the_same_time_share_one_reading(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    body = f"open('{runs}', 'a').write('x')\n" + made(f'{{"token": "{SECRET}"}}')
    account = Account(kubeconfig(tmp_path, program(tmp_path, body)), None)
    found = await asyncio.gather(*(token(account) for _ in range(4)))
    assert (found, runs.read_text()) == ([(f"Bearer {SECRET}", 1)] * 4, "x")
    await account.close()


async def test_token_that_ends_is_made_anew_and_the_call_sent_again(tmp_path: Path) -> None:
    file = tmp_path / "current"
    user = program(tmp_path, made(f'{{"token": open("{file}").read()}}'))
    async with ApiServer(namespaces=("llm",)) as api:
        admin = User("driver", admin=True)
        file.write_text(api.access.token(admin, token=SECRET))
        clock = Clock()
        cluster = Cluster(kubeconfig(tmp_path, user, api.url), None, monotonic=clock)
        with pytest.raises(EngineRefused, match="namespace llm has no Service chat"):
            await cluster.get(CHAT)
        clock.now += RENEW_S
        api.access.revoke(SECRET)
        file.write_text(api.access.token(admin, token=OTHER))
        with pytest.raises(EngineRefused, match="namespace llm has no Service chat"):
            await cluster.get(CHAT)
        api.access.revoke(OTHER)
        for _ in range(3):  # no new reading so soon: the program would run at each look
            with pytest.raises(NotSent) as caught:
                await cluster.get(CHAT)
            assert str(caught.value) == (
                "the API server does not know this account (401) at get of Service llm/chat; is its token valid?"
            )
        clock.now += RENEW_S
        file.write_text(api.access.token(admin, token=SECRET))
        with pytest.raises(EngineRefused, match="namespace llm has no Service chat"):
            await cluster.get(CHAT)
        await cluster.close()


@pytest.fixture
def in_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this process be in a pod, and return the file with its token."""
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "ca.crt").write_text(_certificate())
    monkeypatch.setattr(module, "IN_POD", tmp_path)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return tmp_path / "token"


def rotate(file: Path, text: str | None) -> None:
    """Write a token in place of the one before. None: there is none."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


def _certificate() -> str:
    import certifi

    text = Path(certifi.where()).read_text()
    end = "-----END CERTIFICATE-----\n"
    start = text.index("-----BEGIN")
    return text[start : text.index(end, start) + len(end)]


async def test_pods_own_account_reads_a_token_that_rotates(in_pod: Path) -> None:
    clock = Clock()
    account = Account(None, None, monotonic=clock)
    client, reading = await account.client()
    assert client.configuration.host == "https://10.96.0.1:443"
    assert (client.configuration.api_key, reading) == ({"BearerToken": f"bearer {SECRET}"}, 1)
    rotate(in_pod, OTHER)
    clock.now += 3600
    assert await token(account) == (f"bearer {SECRET}", 1)
    assert await token(account, refused=1) == (f"bearer {OTHER}", 2)
    clock.now += 3600
    assert await token(account, refused=1) == (f"bearer {OTHER}", 2)  # another call's 401 of the old token
    await account.close()


@pytest.mark.parametrize(
    ("text", "words"), [(None, "Service token file does not exist."), ("", "Token file exists but empty.")]
)
async def test_pods_token_that_is_missing_at_a_rotation(in_pod: Path, text: str | None, words: str) -> None:
    clock = Clock()
    account = Account(None, None, monotonic=clock)
    client, _ = await account.client()
    assert client.configuration.refresh_api_key_hook is None  # it would raise in the middle of a call
    rotate(in_pod, text)
    clock.now += RENEW_S
    with pytest.raises(NotSent) as caught:
        await account.client(refused=1)
    assert str(caught.value) == f"the pod's own account cannot be read: {words}"
    await account.close()


async def test_kubeconfig_that_is_named_counts_in_a_pod_too(in_pod: Path, tmp_path: Path) -> None:
    account = Account(kubeconfig(tmp_path, {"token": OTHER}), None)
    assert await token(account) == (f"Bearer {OTHER}", 1)
    await account.close()


async def test_close_in_the_middle_of_a_reading(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    body = f"open('{begun}', 'w')\nwhile not os.path.exists('{tmp_path}/go'): time.sleep(0.01)\n"
    account = Account(kubeconfig(tmp_path, program(tmp_path, body + made(f'{{"token": "{SECRET}"}}'))), None)
    task = asyncio.create_task(account.client())
    await until(begun.exists)
    await account.close()
    (tmp_path / "go").touch()
    for call in (task, account.client()):
        with pytest.raises(NotSent) as caught:
            await call
        assert str(caught.value) == "the API server was not asked: the configuration has just changed"


async def test_reading_that_is_cancelled_leaves_no_trace(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    body = f"open('{begun}', 'w')\nwhile not os.path.exists('{tmp_path}/go'): time.sleep(0.01)\n"
    account = Account(kubeconfig(tmp_path, program(tmp_path, body + made(f'{{"token": "{SECRET}"}}'))), None)
    task = asyncio.create_task(account.client())
    await until(begun.exists)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (tmp_path / "go").touch()
    assert await token(account) == (f"Bearer {SECRET}", 1)
    await account.close()
