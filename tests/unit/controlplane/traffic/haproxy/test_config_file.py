from __future__ import annotations

import pytest

from controlplane.traffic.haproxy.config_file import UnfitFile, with_weights

FILE = b"""\
# caf\xe9, not UTF-8\r
global
  log /dev/log local0
backend other
  server v1 10.0.0.1:80 weight 7
listen chat # weight 9
\tbalance roundrobin
  default-server weight 50 check
  server v1  10.0.0.5:8000   check weight  100   inter 500ms # weight 3
  server "v2" 10.0.0.6:8000
  server v\\ 3 10.0.0.7:8000 weight 1 weight 2

frontend x
  server v1 10.0.0.9:80 weight 8
unknown-keyword of a later release"""


def test_only_the_weights_of_the_named_servers_change() -> None:
    after = with_weights(FILE, "chat", {"v1": 0, "v2": 5, "v 3": 250})
    assert after == (
        FILE.replace(b"check weight  100   inter", b"check weight  0   inter")
        .replace(b'"v2" 10.0.0.6:8000', b'"v2" 10.0.0.6:8000 weight 5')
        .replace(b"weight 1 weight 2", b"weight 1 weight 250")
    )
    assert with_weights(after, "chat", {"v1": 0}) == after
    assert with_weights(FILE, "other", {"v1": 8}) == FILE.replace(b"weight 7", b"weight 8")


@pytest.mark.parametrize(
    ("backend", "server", "words"),
    [
        ("chat", "v4", "no line `server` for v4; add it"),
        ("nope", "v1", "no section `backend nope` or `listen nope`"),
        ("x", "v1", "no section `backend x`"),
    ],
)
def test_a_server_that_is_not_there_is_named(backend: str, server: str, words: str) -> None:
    with pytest.raises(UnfitFile, match=words):
        with_weights(FILE, backend, {server: 1})


def test_a_weight_that_is_no_number_stays(tmp_path: object) -> None:
    with pytest.raises(UnfitFile, match=r"the weight of server v1 is '\$W'; write a number from 0 to 256"):
        with_weights(b"backend chat\n server v1 a:1 weight $W\n", "chat", {"v1": 1})
