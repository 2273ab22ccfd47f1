"""Equal values become one object, and the memory for them is bounded."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.interner import Interner
from collectors.exposition.parser import parse
from collectors.samples import Metadata, labels_of
from collectors.target import Target


def made(*parts: str) -> str:
    """Return a new string object, which Python does not share with a constant."""
    return "".join(parts)


def test_the_first_of_equal_values_is_returned() -> None:
    interner = Interner()
    first = (made("le", ""), made("0.", "5"))
    assert interner.shared(first) is first
    assert interner.shared((made("l", "e"), made("0.5", ""))) is first
    assert interner.shared((1, 2)) == (1, 2)


def test_a_named_tuple_does_not_stand_in_for_a_pair() -> None:
    interner = Interner()
    assert type(interner.shared(Metadata("counter", "help"))) is Metadata
    assert type(interner.shared(("counter", "help"))) is tuple


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=6))
def test_labels_are_those_of_labels_of(pairs: dict[str, str]) -> None:
    interner = Interner()
    assert interner.labels(pairs) == labels_of(pairs)
    assert all(a is b for a, b in zip(interner.labels(pairs), interner.labels(dict(pairs)), strict=True))


def test_equal_metadata_is_one_mapping_in_the_order_given() -> None:
    interner = Interner()
    first = interner.metadata({"a": Metadata("gauge", "A"), "b": Metadata("counter", "B")})
    assert list(first.items()) == [("a", Metadata("gauge", "A")), ("b", Metadata("counter", "B"))]
    assert interner.metadata({"a": Metadata("gauge", "A"), "b": Metadata("counter", "B")}) is first
    assert interner.metadata({"a": Metadata("gauge", "A")}) is not first
    assert interner.metadata({}) == {}


def test_beyond_its_bound_everything_is_forgotten_and_answers_stay_right() -> None:
    interner = Interner(max_bytes=1000)
    first = interner.labels({"request": made("n", "0")})
    for number in range(100):
        pairs = {"request": f"n{number}", "long": "x" * number}
        assert interner.labels(pairs) == labels_of(pairs)
    again = interner.labels({"request": made("n", "0")})
    assert again == first
    assert again[0] is not first[0]
    huge = {f"family_{n}": Metadata("gauge", "h" * 50) for n in range(50)}
    assert interner.metadata(huge) == huge


def test_layouts_of_two_targets_share_what_they_have_in_common(fixtures: Path) -> None:
    parsed = [parse((fixtures / "vllm-0.32-llm.prom").read_bytes()) for _ in range(2)]
    targets = [Target("vllm", f"http://{host}:1/metrics", "vllm", f"{host}:1") for host in "ab"]
    catalogue, interner = load_catalogue(), Interner()
    one, two = (
        canonical_layout(p.series, p.metadata, t, catalogue, interner) for p, t in zip(parsed, targets, strict=True)
    )
    alone = canonical_layout(parsed[1].series, parsed[1].metadata, targets[1], catalogue)
    assert (two.raw, two.views, two.metadata) == (alone.raw, alone.views, alone.metadata)
    assert two.metadata is one.metadata
    for mine, other in zip(one.raw, two.raw, strict=True):
        assert mine.name is other.name
        different = [pair for pair, same in zip(mine.labels, other.labels, strict=True) if pair is not same]
        assert {name for name, _ in different} <= {"instance", "node"}
    assert all(a.columns is b.columns for a, b in zip(one.views, two.views, strict=True))
