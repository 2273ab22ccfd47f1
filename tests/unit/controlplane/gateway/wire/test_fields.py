"""Header fields that pass a proxy."""

from __future__ import annotations

from controlplane.gateway.wire.fields import NOT_TO_ENGINE, encoded, passed, status_line


def test_the_fields_of_one_connection_are_dropped() -> None:
    fields = [(b"connection", b"close"), (b"te", b"trailers"), (b"x", b"1"), (b"x", b"2"), (b"upgrade", b"h2c")]
    assert passed(fields, NOT_TO_ENGINE, b"close") == [b"x: 1\r\n", b"x: 2\r\n"]


def test_the_fields_that_connection_names_are_dropped_too() -> None:
    fields = [(b"connection", b"Close , X-Hop,"), (b"x-hop", b"1"), (b"x", b"2")]
    assert passed(fields, NOT_TO_ENGINE, b"Close , X-Hop,") == [b"x: 2\r\n"]


def test_lines() -> None:
    assert encoded([(b"a", b"1"), (b"b", b"")]) == b"a: 1\r\nb: \r\n"
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(599) == b"HTTP/1.1 599 \r\n"
