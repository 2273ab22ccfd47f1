"""`check` on `gateway:`: what would refuse requests, send them unencrypted, or stop a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.app.check import inspect_file


def told(folder: Path, gateway: str) -> list[str]:
    path = folder / "fleet.yaml"
    path.write_text(f"fleet: {{name: a}}\n{gateway}")
    found = [str(finding) for finding in inspect_file(path).findings]
    return [line.replace(f"{folder}/", "") for line in found if "gateway." in line]


FOLLOWS = 'control_plane: {url: "http://cp:8080"}'


@pytest.mark.parametrize(
    "gateway",
    [
        "",
        "gateway: {authentication: none}\n",
        "gateway: {beside: true}\n",
        f"gateway: {{{FOLLOWS}, listen: '[::1]:8400'}}\n",
        f"gateway: {{{FOLLOWS}, listen: 'localhost:8400'}}\n",
    ],
)
def test_a_gateway_that_can_serve_has_no_finding(tmp_path: Path, gateway: str) -> None:
    assert told(tmp_path, gateway) == []


def test_each_fault_is_told_with_its_cure(tmp_path: Path) -> None:
    assert told(tmp_path, "gateway: {name: a}\n") == [
        "fleet.yaml:2: warning: gateway.authentication: keys are made by a control plane, and none is followed: every "
        "request is refused; set gateway.control_plane, or authentication: none"
    ]
    assert told(tmp_path, f"gateway:\n  {FOLLOWS}\n  listen: 0.0.0.0:8400\n") == [
        "fleet.yaml:4: warning: gateway.listen: 0.0.0.0:8400 without tls:, so keys and prompts are sent unencrypted; "
        "set gateway.tls"
    ]
    (tmp_path / "a.crt").write_text("")
    secure = "listen: 0.0.0.0:8400\n  tls: {cert_file: a.crt, key_file: b}\n"
    without = "the gateway does not start without it"
    assert told(tmp_path, f"gateway:\n  {FOLLOWS}\n  {secure}") == [
        f"fleet.yaml:5: warning: gateway.tls.key_file: b: No such file or directory; {without}"
    ]
    assert told(tmp_path, "gateway: {listen: '127.0.0.1:1', admin: '127.0.0.1:1', authentication: none}\n") == [
        "fleet.yaml:2: gateway.admin: 127.0.0.1:1 is the address of listen: too; choose another port"
    ]
    assert told(tmp_path, "gateway: {max_head_bytes: 2MB, authentication: none}\n") == [
        "fleet.yaml:2: gateway.max_head_bytes: expected 1KB to 1MB: common clients send heads of 1 to 16 KB"
    ]
