"""Listening sockets that share an address."""

from __future__ import annotations

import socket

import pytest

from controlplane.gateway.errors import NotListening
from controlplane.gateway.process.sockets import Address, bind_all, bound_address, check_free


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8400", ("::1", 8400)), ("gateway.internal:1", ("gateway.internal", 1))],
)
def test_an_address_is_read_and_shown_as_it_was(text: str, expected: tuple[str, int]) -> None:
    assert Address.of(text, "gateway.listen") == expected
    assert str(Address.of(text, "gateway.listen")) == text


@pytest.mark.parametrize("text", ["8400", "127.0.0.1", ":8400", "127.0.0.1:x", "127.0.0.1:65536"])
def test_a_wrong_address_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(NotListening, match=r"gateway\.admin: expected host:port"):
        Address.of(text, "gateway.admin")


def test_sockets_share_a_port_with_those_that_were_handed_over() -> None:
    held = bind_all(Address("127.0.0.1", 0), 2, "gateway.listen")
    more = bind_all(Address("127.0.0.1", 0), 4, "gateway.listen", held)
    try:
        assert more[:2] == held
        assert len({bound_address(each) for each in more}) == 1
        assert len(more) == 4
        assert bind_all(Address("127.0.0.1", 0), 1, "gateway.listen", held) == held  # none is closed: its queue counts
    finally:
        for each in more:
            each.close()


def test_an_address_on_which_something_listens_is_not_free() -> None:
    (held,) = bind_all(Address("127.0.0.1", 0), 1, "gateway.listen")
    with held:
        held.listen()
        address = bound_address(held)
        with pytest.raises(NotListening, match=rf"gateway\.listen: {address}: .*in use; choose another"):
            check_free(address, "gateway.listen")
    check_free(address, "gateway.listen")


def test_a_host_that_is_not_this_machine_is_refused() -> None:
    with pytest.raises(NotListening, match=r"gateway\.listen: 192\.0\.2\.1:0: .*choose another address"):
        bind_all(Address("192.0.2.1", 0), 1, "gateway.listen")


def test_connections_wait_for_another_process_with_the_same_socket() -> None:
    (first,) = bind_all(Address("127.0.0.1", 0), 1, "gateway.listen")
    first.listen()
    copy = first.dup()
    with socket.create_connection(bound_address(first)) as client:
        first.close()  # as when a worker dies
        copy.setblocking(True)
        served, _ = copy.accept()
        served.sendall(b"hello")
        assert client.recv(5) == b"hello"
        served.close()
    copy.close()
