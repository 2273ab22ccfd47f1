"""Long texts in names that are keys of the database."""

from __future__ import annotations

import pytest

from alerts.routing.matchers import Matcher, Op
from alerts.routing.names import MOST_BYTES, short
from alerts.routing.tree import route_key


@pytest.mark.parametrize("text", ["", "alertname='Hot'", "a" * MOST_BYTES, "漢" * (MOST_BYTES // 3), "😀" * 250])
def test_a_text_of_usual_length_stays_as_it_is(text: str) -> None:
    assert short(text) == text


@pytest.mark.parametrize("text", ["a" * (MOST_BYTES + 1), "漢" * (MOST_BYTES // 3 + 1), "😀" * 5000, "\ud800" * 5000])
def test_a_longer_one_keeps_its_begin_and_is_told_apart_from_others(text: str) -> None:
    found = short(text)
    assert found.startswith(text[:200])
    assert len(found.encode(errors="surrogatepass")) <= MOST_BYTES
    assert len({found, short(f"{text}a"), short(f"{text}b")}) == 3


def test_routes_with_long_matchers_are_told_apart_too() -> None:
    long = [Matcher("model", Op.MATCHES, "|".join(f"model-{n}" for n in range(500)))]
    taken: set[str] = set()
    first, second = route_key("", long, taken), route_key("", long, taken)
    below = route_key(first, long, set())
    assert first.startswith('/{model=~"model-0|') and second == f"{first}#2"
    assert len({first, second, below}) == 3 and max(map(len, (first, second, below))) < MOST_BYTES
