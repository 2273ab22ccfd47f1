"""The bytes of a rule's answer: the same samples come out, and labels are sent once."""

from __future__ import annotations

import math

import pytest

from alerts.interfaces import VectorSample
from controlplane.metrics.query.workers import rule_answer
from controlplane.metrics.query.workers.rule_answer import Known, KnownLabels, decoded, encoded


def samples(count: int, name: str = "a") -> list[VectorSample]:
    return [VectorSample((("__name__", name), ("n", str(n))), n / 3) for n in range(count)]


def answered(given: list[VectorSample], asker_has: str = "") -> tuple[str, bytes]:
    """Return the digest and the answer of a worker that is asked for the first time."""
    now, answer = encoded(given, asker_has, Known())
    return now.digest, answer


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1700])
def test_the_samples_of_an_answer_are_those_of_the_result(count: int) -> None:
    digest, answer = answered(samples(count))
    known, read = decoded(answer, digest, Known())
    assert read == samples(count)
    assert known == Known(digest, tuple(sample.labels for sample in read))


def test_values_and_texts_of_every_kind_come_through() -> None:
    odd = ["", "ü\n\u2028", "a\ud800", '"', "\x00"]
    sent = [
        VectorSample((("l", text),), value)
        for text, value in zip(odd, (math.inf, -0.0, 5e-324, 1e308, 0.1), strict=True)
    ]
    digest, answer = answered([*sent, VectorSample((), math.nan)])
    read = decoded(answer, digest, Known())[1]
    assert (read[:-1], read[-1].labels, math.isnan(read[-1].value)) == (sent, (), True)
    assert math.copysign(1, read[1].value) == -1


def test_labels_are_sent_again_only_when_they_change() -> None:
    digest, first = answered(samples(1000))
    known, _ = decoded(first, digest, Known())
    doubled = [VectorSample(labels, 2 * value) for labels, value in samples(1000)]
    again, second = answered(doubled, digest)
    assert (again, len(second)) == (digest, 4 + 8 * 1000)
    same, read = decoded(second, again, known)
    assert read == doubled
    assert same is known
    changed, third = answered(samples(1000, "b"), digest)
    assert decoded(third, changed, known)[1] == samples(1000, "b")


def test_a_worker_knows_the_labels_of_the_last_turn_again() -> None:
    first, _ = encoded(samples(1000), "", Known())
    second, answer = encoded(samples(1000), first.digest, first)
    assert (second is first, len(answer)) == (True, 4 + 8 * 1000)
    whole = encoded(samples(1000), "", first)  # asked by a control plane that has dropped them
    assert whole == encoded(samples(1000), "", Known())
    other, _ = encoded(samples(999), first.digest, first)
    assert other == encoded(samples(999), "", Known())[0] != first
    nothing, _ = encoded([], "", Known())
    assert nothing.digest != ""


def test_an_answer_is_read_with_the_labels_of_its_question() -> None:
    """Two groups may have the same expression. Another answer may come in between."""
    labels = KnownLabels()
    digest, answer = answered(samples(3))
    labels.keep("a", decoded(answer, digest, Known())[0])
    asked = labels.of("a")
    _, late = answered(samples(3), asked.digest)
    other, between = answered(samples(3, "b"), asked.digest)
    labels.keep("a", decoded(between, other, asked)[0])
    assert decoded(late, digest, asked)[1] == samples(3)


def test_the_least_recently_used_labels_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = KnownLabels()

    def keep(expr: str, count: int) -> None:
        digest, answer = answered(samples(count))
        labels.keep(expr, decoded(answer, digest, Known())[0])

    monkeypatch.setattr(rule_answer, "MOST_LABEL_SETS", 10)
    for expr in ("a", "b", "a", "c"):
        keep(expr, 4)
    assert [expr for expr in "abc" if labels.of(expr).digest] == ["a", "c"]
    keep("c", 7)
    assert [expr for expr in "abc" if labels.of(expr).digest] == ["c"]
    monkeypatch.setattr(rule_answer, "MOST_RULES", 2)
    for expr in ("d", "e"):
        keep(expr, 0)
    assert [expr for expr in "cde" if labels.of(expr).digest] == ["d", "e"]
