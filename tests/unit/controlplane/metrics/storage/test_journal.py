from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.metrics.storage import journal as journalling
from controlplane.metrics.storage.journal import Journal, Kind, damage, frame, records

PAYLOADS = st.lists(st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=40)), max_size=6)


def said(data: bytes) -> list[tuple[int, bytes]]:
    return [(record.kind, record.payload) for record in records(data)]


@given(PAYLOADS, st.integers(0, 1000))
def test_records_read_back_with_their_places(written: list[tuple[Kind, bytes]], offset: int) -> None:
    data = b"".join(frame(kind, payload) for kind, payload in written)
    found = list(records(data, offset))
    assert [(r.kind, r.payload) for r in found] == written
    assert [data[r.start - offset : r.end - offset] for r in found] == [frame(k, p) for k, p in written]
    assert damage(data) == []


@settings(max_examples=200)
@given(PAYLOADS, st.data())
def test_damage_never_makes_a_record_and_never_hides_one_that_it_did_not_hit(
    written: list[tuple[Kind, bytes]], data: st.DataObject
) -> None:
    whole = b"".join(frame(kind, payload) for kind, payload in written)
    broken = bytearray(whole)
    hits = data.draw(st.lists(st.integers(0, max(0, len(whole) - 1)), max_size=3)) if whole else []
    for at in hits:
        broken[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(broken)))
    del broken[cut:]
    untouched = [
        (r.kind, r.payload)
        for r in records(whole)
        if r.end <= cut and bytes(broken[r.start : r.end]) == whole[r.start : r.end]
    ]
    stretches = damage(bytes(broken))
    masked, at = b"", 0
    for start, end in stretches:
        masked += bytes(broken[at:start])
        at = end
    masked += bytes(broken[at:])
    assert said(masked) == untouched
    assert all(start < end for start, end in stretches)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    stretches = damage(data)
    assert list(records(data)) == [] or not stretches or stretches[0][0] > 0


def test_a_damaged_stretch_is_masked_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.1"
    journal = Journal(path)
    for payload in (b"one", b"two" * 1000, b"three"):
        journal.append(Kind.GONE, payload)
    first, second, third = records(path.read_bytes())
    with path.open("r+b") as file:
        file.seek(second.start + 6)
        file.write(b"\x99" * 2500)
    assert damage(path.read_bytes()) == [(second.start, second.end)]
    monkeypatch.setattr(journalling, "MAX_PAYLOAD", 1000)
    journal.mask(second.start, second.end)
    journal.append(Kind.GONE, b"four")
    kinds = [(r.kind, r.payload) for r in records(journal.read())]
    assert kinds[0] == (Kind.GONE, first.payload)
    assert {kind for kind, _ in kinds[1:-2]} == {Kind.LOST}
    assert [payload for _, payload in kinds[-2:]] == [third.payload, b"four"]
    assert damage(journal.read()) == []
    journal.close()


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal.1")
    journal.append(Kind.GONE, b"one")
    before, real = journal.read(), os.pwrite

    def torn(file: int, data: bytes, at: int) -> int:
        if at > len(before):
            raise OSError(28, "No space left on device")
        return real(file, data[:5], at)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", torn)
        with pytest.raises(OSError, match="No space"):
            journal.append(Kind.GONE, b"a longer one")
        assert journal.read() == before

        def stuck(file: int, size: int) -> None:
            raise OSError(5, "Input/output error")

        patched.setattr(os, "ftruncate", stuck)
        with pytest.raises(OSError, match="No space"):
            journal.append(Kind.GONE, b"a longer one")
    journal.append(Kind.GONE, b"2")
    journal.sync()
    assert said(journal.read()) == [(Kind.GONE, b"one"), (Kind.GONE, b"2")]
    journal.close()
    again = Journal(tmp_path / "journal.1")
    assert again.end == len(journal.read())
    again.close()
