"""Names of models that clients send and engines have. Two names that look alike are the same name."""

from __future__ import annotations

LONGEST_MODEL = 256
"""Most characters of a client's or engine's name of a model. The gateway reads as many of a request."""
_INVISIBLE = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10)))
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))
"""Letters and marks that show nothing: fillers and variation selectors. They are no format characters, which
`str.isprintable` refuses."""


def model_name(value: str) -> str:
    """Return a client's or engine's name of a model unchanged.

    Raises ValueError for an empty name, spaces around it, more than LONGEST_MODEL characters, and characters that do
    not show.
    """
    if not value.strip():
        raise ValueError("is empty; give a name, or remove the entry")
    for at, character in enumerate(value, start=1):
        if not character.isprintable() or character in _INVISIBLE:
            raise ValueError(
                f"holds a character that does not show (U+{ord(character):04X}) as character {at}; remove it"
            )
    if value != value.strip():
        raise ValueError("begins or ends with a space; remove it")
    if len(value) > LONGEST_MODEL:
        raise ValueError(f"has {len(value)} characters; use at most {LONGEST_MODEL}")
    return value
