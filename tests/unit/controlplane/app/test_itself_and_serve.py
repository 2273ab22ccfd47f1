"""The control plane as its own target, and the address that it listens on."""

from __future__ import annotations

import socket
import threading

import pytest

from collectors.errors import ScrapeTimeout
from controlplane.app.itself import LOCAL_SELF, OwnSource, own_target
from controlplane.app.serve import bind
from controlplane.errors import ConfigError
from tests.patience import HANG_S


async def test_its_own_metrics_are_read_like_any_targets() -> None:
    source = OwnSource(lambda: b"controlplane_x 1\n")
    assert await source.read(5.0) == b"controlplane_x 1\n"
    await source.close()
    target = own_target("127.0.0.1:8080", 15.0, 10.0)
    assert (target.engine, target.job, target.url, target.instance) == (
        "controlplane",
        "controlplane",
        LOCAL_SELF,
        "127.0.0.1:8080",
    )


async def test_a_database_that_hangs_is_a_failed_scrape_and_not_a_hanging_one() -> None:
    release = threading.Event()

    def hang() -> bytes:
        release.wait(HANG_S)
        return b""

    try:
        with pytest.raises(ScrapeTimeout, match=r"not ready within 0\.05s"):
            await OwnSource(hang).read(0.05)
    finally:
        release.set()


@pytest.mark.parametrize("listen", ["8080", "host:", "127.0.0.1:99999", "127.0.0.1:http", ":8080"])
def test_an_address_that_is_none_says_what_is_expected(listen: str) -> None:
    with pytest.raises(ConfigError, match="--listen: expected host:port such as 127"):
        bind(listen)


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: Address already in use"):
            bind(f"127.0.0.1:{port}")


def test_port_zero_is_any_free_one_and_ipv6_works() -> None:
    with bind("127.0.0.1:0") as listener:
        assert listener.getsockname()[1] > 0
    try:
        with bind("[::1]:0") as listener:
            assert listener.family == socket.AF_INET6
    except ConfigError as error:
        assert "Cannot assign requested address" in str(error)


def test_an_address_that_others_can_reach_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with bind("0.0.0.0:0"):
        assert "without TLS" in caplog.text
