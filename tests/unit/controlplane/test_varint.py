from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.varint import varint


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (150, "9601"), (-1, "ffffffffffffffffff01")],
)
def test_numbers_are_written_as_protobuf_writes_them(number: int, encoded: str) -> None:
    assert varint(number).hex() == encoded


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_a_number_can_be_read_back(number: int) -> None:
    data = varint(number)
    assert all(byte & 0x80 for byte in data[:-1]) and data[-1] < 0x80
    read = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data))
    assert (read - 2**64 if read >= 2**63 else read) == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_refused(number: int) -> None:
    with pytest.raises(OverflowError, match=f"{number} does not fit in 64 bits"):
        varint(number)
