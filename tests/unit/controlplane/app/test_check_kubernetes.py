"""`check` of `kubernetes_sd`: the cluster is asked once, and whatever it answers is told at its line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from controlplane.app.check import inspect_file
from tests.fakes.kubernetes import ApiServer, Rule
from tests.fakes.kubernetes.errors import ApiError
from tests.unit.controlplane.discovery.test_following import CURE, pod


async def told(folder: Path, fields: str, rules: str = "") -> list[str]:
    """Return what `check` says of a source, whose place is line 5 of fleet.yaml."""
    file = folder / "fleet.yaml"
    file.write_text(
        f"fleet: {{name: test}}\nrules: []\ntargets:\n  - engine: vllm\n    kubernetes_sd: [{{{fields}}}]\n{rules}"
    )
    report = await asyncio.to_thread(inspect_file, file)
    lines = [*map(str, report.findings), *([report.verdict] if not report.errors else [])]
    assert "Traceback" not in "".join(lines)
    return [line.replace(f"{folder}/", "") for line in lines]


def at(api: ApiServer, rules: Sequence[Rule] | None = None, more: str = "") -> str:
    return f"role: pod, api_server: '{api.url}/', authorization: {{credentials_file: {token_in(api, rules)}}}{more}"


def token_in(api: ApiServer, rules: Sequence[Rule] | None) -> str:
    Path("token").write_text(api.token(rules))
    return "token"


def one_warning(place: str, reason: str) -> list[str]:
    return [
        f"fleet.yaml:5: warning: targets[0].kubernetes_sd[0]: kubernetes_sd role pod{place}: {reason}",
        "fleet.yaml: good: 0 targets, 0 models, 0 rules, 1 warning",
    ]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


async def test_the_cluster_is_asked_once(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1"))
        api.put(pod("b", "10.0.0.2"))
        relabel = "    relabel_configs: [{source_labels: [__address__], regex: '.*2:8000', action: drop}]\n"
        assert await told(tmp_path, at(api), relabel) == [
            "fleet.yaml: good: 1 target, 1 dropped target, 0 models, 0 rules"
        ]
        assert [verb for verb, _, _ in api.requests if verb != "watch"] == ["list"]


async def test_a_cluster_without_such_pods_is_told(tmp_path: Path) -> None:
    async with ApiServer() as api:
        assert await told(tmp_path, at(api)) == [
            "fleet.yaml:5: warning: targets[0].kubernetes_sd[0]: lists no targets",
            "fleet.yaml: good: 0 targets, 0 models, 0 rules, 1 warning",
        ]


async def test_a_missing_right_is_a_warning(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        assert await told(tmp_path, at(api, [], ", namespaces: {names: [llm]}")) == one_warning(
            f" of llm at {api.url}",
            'pods is forbidden: User "driver" cannot list resource "pods" in API group "" in the namespace "llm"; '
            f"allow the verb list on pods in namespace llm {CURE}",
        )


async def test_one_refused_namespace_is_a_warning_beside_the_targets_of_the_other(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm", "other")) as api:
        api.put(pod("a", "10.0.0.1"))
        rules = [Rule(["list", "watch"], [""], ["pods"], namespace="llm")]
        lines = await told(tmp_path, at(api, rules, ", namespaces: {names: [llm, other]}"))
        assert lines[0].endswith(f"allow the verb list on pods in namespace other {CURE}")
        assert lines[1:] == ["fleet.yaml: good: 1 target, 0 models, 0 rules, 1 warning"]


async def test_an_account_that_is_not_known_or_not_there_is_a_warning(tmp_path: Path) -> None:
    async with ApiServer() as api:
        fields = at(api)
        api.access.revoke((tmp_path / "token").read_text())
        assert await told(tmp_path, fields) == one_warning(
            f" at {api.url}",
            "the API server does not know this account (401) at list of Pods of the whole cluster; is its token valid?",
        )
        (tmp_path / "token").unlink()
        reason = "cannot read the credentials file token: No such file or directory"
        assert await told(tmp_path, fields) == [
            f"fleet.yaml:5: warning: targets[0].kubernetes_sd[0]: kubernetes_sd role pod at {api.url}: "
            f"the API server {api.url} was not asked: {reason}",
            f"fleet.yaml:5: warning: targets[0].kubernetes_sd[0].authorization: {reason}",
            "fleet.yaml: good: 0 targets, 0 models, 0 rules, 2 warnings",
        ]


async def test_a_server_that_is_away_hangs_or_fails_is_a_warning(tmp_path: Path) -> None:
    async with ApiServer() as api:
        fields = at(api)
        api.faults.fail("list", "*/pods", ApiError(500, "InternalError", "etcd is away"), times=9)
        assert await told(tmp_path, fields) == one_warning(
            f" at {api.url}", "the API server could not list Pods of the whole cluster (500): etcd is away"
        )
        api.faults.clear()
        api.faults.slow["list"] = asyncio.Event()
        before = len(api.requests)
        assert await told(tmp_path, fields) == one_warning(
            f" at {api.url}", f"the API server {api.url} did not answer list of Pods of the whole cluster within 4 s"
        )
        assert [verb for verb, _, _ in api.requests[before:]] == ["list"]  # not one deadline after the other
        await api.stop(kill=True)
        assert await told(tmp_path, fields) == one_warning(
            f" at {api.url}",
            f"the API server {api.url} did not answer list of Pods of the whole cluster: connection refused",
        )


async def test_an_account_of_files_that_are_missing_or_broken_is_a_warning(tmp_path: Path) -> None:
    gives_none = "gives no account of a cluster:"
    missing = "there is no such file; name one under kubeconfig:, or set KUBECONFIG"
    assert await told(tmp_path, "role: pod") == one_warning("", f"~/.kube/config {gives_none} {missing}")
    named = "role: pod, kubeconfig_file: kubeconfig"
    assert await told(tmp_path, named) == one_warning(" at kubeconfig", f"kubeconfig {gives_none} {missing}")
    (tmp_path / "kubeconfig").write_text("users: [")
    assert await told(tmp_path, named) == one_warning(
        " at kubeconfig",
        f"kubeconfig {gives_none} it is no YAML (line 1); write it as `kubectl config view --raw` shows it",
    )
    (warning, _) = await told(tmp_path, "role: pod, namespaces: {own_namespace: true}")
    assert warning.endswith("own_namespace needs a pod with an account; elsewhere write names: [NAMESPACE]")


async def test_a_password_in_the_address_is_refused_without_showing_it(tmp_path: Path) -> None:
    assert await told(tmp_path, "role: pod, api_server: 'https://u:hidden@h'") == [
        "fleet.yaml:5: targets[0].kubernetes_sd[0].api_server: has a user; write basic_auth instead"
    ]
