"""Protobuf's variable-length integers, for the few messages that are written by hand."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """Return an int64 as a protobuf varint of one to ten bytes. Negative numbers take ten.

    Source: the Protocol Buffers encoding guide, "Base 128 Varints". Raises OverflowError when the number
    does not fit in 64 bits.
    """
    if not -(2**63) <= number < 2**63:
        raise OverflowError(f"{number} does not fit in 64 bits")
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
