"""Containers of a Docker daemon behind a real socket: one that refuses, lies, floods, or is not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from collectors.discovery import docker_following
from collectors.discovery.docker_following import docker_follower
from collectors.discovery.docker_sd import DockerSd, entries_of
from tests.fakes.docker import Docker, docker
from tests.fakes.heard import heard_of

ALL = ["172.18.0.2:8000", "172.18.0.2:80", "172.18.0.2:9000", "[fd00::5]:80", "localhost"]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[Docker, DockerSd]]:
    with docker(tmp_path) as (running, path):
        yield running, DockerSd(f"unix://{path}")


async def test_containers_become_addresses_with_the_labels_of_prometheus(daemon: tuple[Docker, DockerSd]) -> None:
    running, sd = daemon
    filtered = replace(sd, filters=(("label", ("a", "b")),))
    async with heard_of(lambda means: docker_follower(filtered, means)) as heard:
        assert (sorted(heard.addresses), heard.error, heard.slept) == (sorted(ALL), "", [60.0])
        assert running.asked == ["json", '{"label": ["a", "b"]}', "networks"]
        (chat,) = [entry for entry in heard.lists[0] if entry.addresses == ("172.18.0.2:8000",)]
    assert dict(chat.labels) == {
        "__meta_docker_container_id": "c1",
        "__meta_docker_container_name": "/chat",
        "__meta_docker_container_network_mode": "back",
        "__meta_docker_container_label_com_x_model": "chat",
        "__meta_docker_network_id": "n1",
        "__meta_docker_network_name": "back",
        "__meta_docker_network_scope": "local",
        "__meta_docker_network_internal": "true",
        "__meta_docker_network_ingress": "false",
        "__meta_docker_network_label_a_b": "c",
        "__meta_docker_network_ip": "172.18.0.2",
        "__meta_docker_port_private": "8000",
        "__meta_docker_port_public": "18000",
        "__meta_docker_port_public_ip": "0.0.0.0",
    }


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"status": 500}, "containers: answered 500 Internal Server Error, expected 200"),
        ({"containers": {}}, "containers: answered something else than a list in JSON; is this Docker's API?"),
        ({"networks": b"["}, "networks: answered something else than a list in JSON; is this Docker's API?"),
        ({"networks": b"[" * 100_000}, "networks: answered something else than a list in JSON; is this Docker's API?"),
        ({"containers": b" " * 65}, "the body has more than the 64 bytes allowed"),
    ],
)
async def test_a_bad_answer_keeps_the_last_list(
    daemon: tuple[Docker, DockerSd], monkeypatch: pytest.MonkeyPatch, bad: dict[str, Any], told: str
) -> None:
    running, sd = daemon
    async with heard_of(lambda means: docker_follower(sd, means)) as heard:
        if "64 bytes" in told:
            monkeypatch.setattr(docker_following, "MAX_BODY_BYTES", 64)
        for name, value in bad.items():
            setattr(running, name, value)
        await heard.again()
        assert (heard.error, len(heard.lists)) == (f"{sd.place}: {told}", 1)


async def test_a_socket_that_cannot_be_used_is_told_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sd = DockerSd(f"unix://{tmp_path}/none.sock")
    async with heard_of(lambda means: docker_follower(sd, means)) as heard:
        assert heard.error == (
            f"unix://{tmp_path}/none.sock: there is no such socket; start Docker, or mount the socket into the control"
            " plane's container"
        )

    async def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(docker_following, "_answers", refused)  # a test as root is refused nothing
    (tmp_path / "none.sock").touch()
    async with heard_of(lambda means: docker_follower(sd, means)) as heard:
        assert heard.error.startswith(f"{sd.place}: no permission for the socket; add the control plane's user to the")


async def test_a_daemon_over_tcp_that_is_not_there_is_told_without_its_secrets() -> None:
    for host in ("tcp://127.0.0.1:1", "https://u:s3cret@127.0.0.1:1"):
        async with heard_of(partial(docker_follower, DockerSd(host))) as heard:
            assert heard.error == f"{host.replace('u:s3cret@', '')}: connection refused"


def test_parts_of_another_form_count_as_empty() -> None:
    network = {"NetworkID": 5, "IPAddress": "10.0.0.1"}
    odd: list[Any] = [
        None,
        {"Id": 1, "Names": "x"},
        {"Id": "a", "Names": ["/a"], "HostConfig": None, "NetworkSettings": {"Networks": {"n": None, "o": network}}},
        {"Id": "b", "Names": ["/b\n"], "HostConfig": {"NetworkMode": "container:b"}, "Labels": {"l": "two\nlines"}},
    ]
    (entry,) = entries_of(DockerSd("unix:///x"), odd, [None, {"Id": "n"}])
    assert (entry.addresses, entry.labels["__meta_docker_container_id"]) == (("10.0.0.1:80",), "a")
    odd[3]["NetworkSettings"] = {"Networks": {"o": network}}
    labels = entries_of(DockerSd("unix:///x"), odd[3:], [])[0].labels
    assert (labels["__meta_docker_container_name"], labels["__meta_docker_container_label_l"]) == ("/b ", "two lines")
