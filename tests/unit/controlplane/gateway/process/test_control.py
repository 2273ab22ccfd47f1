"""Frames of the control channel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.errors import GatewayError
from controlplane.gateway.process.control import MAX_HEAD, SIZES, Frame, Frames


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=40)), max_size=5), st.integers(1, 7))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(sent: list[tuple[str, bytes]], step: int) -> None:
    frames = [Frame({"type": word}, body) for word, body in sent]
    data = b"".join(frame.encode() for frame in frames)
    reader = Frames()
    found = [frame for at in range(0, len(data), step) for frame in reader.feed(data[at : at + step])]
    assert found == frames


@pytest.mark.parametrize("data", [SIZES.pack(MAX_HEAD + 1, 0), SIZES.pack(2, 0) + b"{]", SIZES.pack(2, 0) + b"[]"])
def test_bytes_that_are_no_frame_are_refused(data: bytes) -> None:
    with pytest.raises(GatewayError):
        Frames().feed(data)
