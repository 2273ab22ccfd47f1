"""One record as a line of a journal."""

from __future__ import annotations

import dataclasses

import pytest

from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.request import Outcome
from controlplane.gateway.usage.lines import FIELDS, entry, fields_of, heading, line
from tests.fakes.usage_records import record

APART = {"trace", "streamed", "content"}
"""Fields of a record for spans and metrics. A journal does not hold them."""


def test_a_record_is_read_back_whole() -> None:
    original = record(reason="overloaded", degraded_from="large", tenant="ä\n", first_s=None)
    data = line(7, original)
    assert data.endswith(b"\n") and data.count(b"\n") == 1
    found = entry(data[:-1], FIELDS)
    assert found is not None
    assert found.sequence == 7
    kept = {name: value for name, value in dataclasses.asdict(original).items() if name not in APART}
    assert found.values == kept


def test_every_field_of_a_record_but_those_apart_is_in_the_journal() -> None:
    assert set(FIELDS) == {field.name for field in dataclasses.fields(UsageRecord)} - APART


@pytest.mark.parametrize("place", range(0, 40, 3))
def test_a_changed_byte_is_seen(place: int) -> None:
    data = bytearray(line(1, record())[:-1])
    data[place] ^= 1
    assert entry(bytes(data), FIELDS) is None


@pytest.mark.parametrize("length", [0, 8, 9, 20, 60])
def test_a_line_that_was_not_written_to_its_end_is_seen(length: int) -> None:
    assert entry(line(1, record())[:length], FIELDS) is None


def test_the_heading_names_the_fields_and_a_later_format_is_not_read() -> None:
    assert fields_of(heading()) == FIELDS
    assert fields_of(b'{"format":2,"fields":["at"]}\n') is None
    assert fields_of(b"garbage\n") is None


def test_a_name_that_a_client_made_up_is_not_kept() -> None:
    made_up = record(outcome=Outcome.INVALID, backend="", model="x" * 1000)
    found = entry(line(1, made_up)[:-1], FIELDS)
    assert found is not None and found.values["model"] == ""
    told_by_an_engine = entry(line(1, record(outcome=Outcome.INVALID))[:-1], FIELDS)
    assert told_by_an_engine is not None and told_by_an_engine.values["model"] == "chat"
