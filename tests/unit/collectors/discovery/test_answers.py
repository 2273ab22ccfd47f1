"""The targets of a source's answers, of which only changed entries are made anew."""

from __future__ import annotations

from collectors.discovery.answers import Answer, taken
from collectors.discovery.entries import Entry, SdList
from collectors.discovery.group import DiscoveryGroup
from collectors.discovery.http_sd import HttpSd
from collectors.relabel import Action, RelabelRule

SD = HttpSd("http://inventory/")
DROP = RelabelRule(Action.DROP, ("zone",), regex="gone")
ONE, TWO, THREE = (
    Entry(("a:1", "b:1"), {"zone": "x"}),
    Entry((), {}),
    Entry(("c:1",), {"zone": "gone"}),
)


def after(*answers: tuple[Entry, ...], group: DiscoveryGroup) -> list[SdList]:
    """Return the list after each answer."""
    lists: list[SdList] = []
    for version, entries in enumerate(answers, start=1):
        lists.append(taken(SD, group, lists[-1] if lists else None, Answer(version, entries)))
    return lists


def test_entries_that_are_the_same_have_the_same_targets() -> None:
    group = DiscoveryGroup("vllm", relabel=(DROP,))
    new = Entry(("d:1",), {})
    first, second, third = after((ONE, THREE, TWO), (THREE, new, ONE), (new, Entry(*ONE)), group=group)
    assert second.targets == after((THREE, new, ONE), group=group)[0].targets
    a, b, c = first.targets
    assert [any(each is one for one in (a, b, c)) for each in second.targets] == [True, False, True, True]
    assert third.targets == after((new, ONE), group=group)[0].targets
    assert third.targets[1] is not a  # an equal entry is made anew


def test_entries_of_a_list_with_faults_are_made_anew() -> None:
    group = DiscoveryGroup("vllm", of_prometheus=True)
    wrong = Entry(("h:1/x", "a:1"), {})
    first, second = after((wrong, ONE), (ONE, wrong), group=group)
    assert len(first.faults) == len(second.faults) == 1
    assert second.targets == after((ONE, wrong), group=group)[0].targets
    assert len(second.targets) == 3


def test_a_bad_answer_keeps_what_is_known() -> None:
    group = DiscoveryGroup("vllm")
    first, bad, good = after((ONE,), (TWO, Entry(("no port",), {})), (TWO, ONE), group=group)
    assert (bad.targets, bad.error is None) == (first.targets, False)
    assert good.error is None
    assert [x is y for x, y in zip(good.targets, first.targets, strict=True)] == [True, True]
