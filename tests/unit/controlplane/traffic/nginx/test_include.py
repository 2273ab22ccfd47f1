from __future__ import annotations

import pytest

from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.nginx.include import Include

SERVERS = {"v1": ["10.0.0.5:80", "10.0.0.6:80"], "v2": ["10.0.0.7:80"], "v3": []}


@pytest.mark.parametrize("sticky", [None, "$http_x_session_id"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.333, 0.5, 0.999, 1.0])
def test_what_is_written_is_read_back(sticky: str | None, share: float) -> None:
    include = Include("chat.llm", SERVERS, sticky)
    weights = {version: part for version, part in (("v2", share), ("v1", 1 - share)) if part}
    found = include.read(include.text(weights))
    assert found == pytest.approx(weights, abs=0.0005)


def test_a_sticky_key_gets_upstreams_of_versions_and_a_variable() -> None:
    include = Include("chat", SERVERS, "$http_x_session_id")
    assert include.text({"v2": 0.05, "v1": 0.95}).splitlines()[2:] == [
        *("upstream chat_v1 {", "  zone chat_v1 64k;", "  server 10.0.0.5:80;", "  server 10.0.0.6:80;", "}"),
        *("upstream chat_v2 {", "  zone chat_v2 64k;", "  server 10.0.0.7:80;", "}"),
        *("split_clients $http_x_session_id $chat_upstream {", "  5.00% chat_v2;", "  * chat_v1;", "}"),
    ]
    assert include.pass_to == "http://$chat_upstream"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has no `upstream chat`"),
        ("upstream other { server 10.0.0.5:80; }", "it has no `upstream chat`"),
        ("upstream chat {\n  server 10.9.9.9:80;\n}\n", "server 10.9.9.9:80 of upstream chat belongs to no version"),
    ],
)
def test_another_file_is_not_read(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Include("chat", SERVERS).read(text)


def test_a_share_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(EngineRefused, match=r"steps of 0.01%"):
        Include("chat", SERVERS, "$request_id").text({"v2": 0.00001, "v1": 0.99999})
    with pytest.raises(EngineRefused, match="v3 has no server for nginx's upstream chat"):
        Include("chat", SERVERS).text({"v3": 1.0})
