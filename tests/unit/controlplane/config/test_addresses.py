"""Listeners that collide, and URLs that lead back to a listener."""

from __future__ import annotations

import socket

import pytest

from controlplane.config.addresses import leads_to, overlap


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "10.0.0.5:80", True),
        ("0.0.0.0:80", "0.0.0.0:81", False),
        ("0.0.0.0:80", "[::1]:80", False),
        ("[::]:80", "127.0.0.1:80", True),
        ("[::]:80", "0.0.0.0:80", True),
        ("[::]:80", "[fe80::1%eth0]:80", True),
        ("localhost:80", "127.0.0.1:80", True),
        ("LOCALHOST.:80", "[::1]:80", True),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "web-1:80", True),
        ("web-1:80", "WEB-1:80", True),
        ("web-1:80", "web-2:80", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
    ],
)
def test_listeners_that_collide(first: str, second: str, collide: bool) -> None:
    assert overlap(first, second) == overlap(second, first) == collide


@pytest.mark.parametrize(
    ("url", "listen", "own"),
    [
        ("http://127.0.0.1:8400", "127.0.0.1:8400", True),
        ("http://127.0.0.1:8400/prefix", "127.0.0.1:8400", True),
        ("http://localhost:8400", "127.0.0.1:8400", True),
        ("http://[::1]:8400", "localhost:8400", True),
        ("http://0.0.0.0:8400", "127.0.0.1:8400", True),
        ("http://127.0.0.1:8400", "0.0.0.0:8400", True),
        ("http://127.0.0.7:8400", "0.0.0.0:8400", True),
        ("http://10.0.0.5:8400", "10.0.0.5:8400", True),
        ("http://10.0.0.5:8400", "0.0.0.0:8400", False),
        ("http://10.0.0.5:8400", "127.0.0.1:8400", False),
        ("http://127.0.0.1:8000", "127.0.0.1:8400", False),
        ("http://a", "a:80", True),
        ("https://A/", "a:443", True),
        ("http://a", "a:443", False),
        (f"http://{socket.gethostname()}:8400", "0.0.0.0:8400", True),
        (f"http://{socket.gethostname()}:8400", "127.0.0.1:8400", False),
    ],
)
def test_urls_of_the_listener(url: str, listen: str, own: bool) -> None:
    assert leads_to(url, listen) == own
