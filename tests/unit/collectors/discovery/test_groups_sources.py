"""Sources of whole groups: groups come and go with the answers, and many groups share one list of addresses."""

from __future__ import annotations

from collections.abc import Mapping

from collectors.discovery.answers import Answer
from collectors.discovery.discovery import Discovery
from collectors.discovery.entries import Entry
from collectors.discovery.group import DiscoveryGroup, ListedGroups, Objects, SdConfig
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.monitors.list_part import ListPart, Parts, asked
from collectors.discovery.monitors.rule_words import Ask, RuleWords
from collectors.errors import DiscoveryError
from collectors.relabel import Action, RelabelRule

MONITORS, LIST = HttpSd("http://monitors"), HttpSd("http://list")
DROPS_B = (RelabelRule(Action.DROP, ("team",), regex="b"), RelabelRule(Action.KEEP, ("rack",), regex="1"))
WORDS = RuleWords((Ask("the team must not be b"),), "relabelings", "Monitor x")


def part(*teams: str, others: bool = False) -> ListPart:
    return ListPart(LIST, "team", teams, others)


def group(job: str, sd: SdConfig, words: RuleWords | None = None) -> DiscoveryGroup:
    relabel = DROPS_B if words else ()
    return DiscoveryGroup("vllm", job=job, sd=(sd,), relabel=relabel, words=words, of_prometheus=True)


class Source:
    """Implements GroupsSource: each object names a job and the teams that it looks at."""

    sd = MONITORS

    def __init__(self) -> None:
        self.asked = 0

    def groups(self, objects: Objects) -> ListedGroups:
        self.asked += 1
        jobs = [(each["job"], each["teams"]) for each in objects.get("jobs", ())]
        good = [(job, teams) for job, teams in jobs if teams]
        bad = tuple(f"{job} is left out" for job, teams in jobs if not teams)
        return ListedGroups(tuple(group(job, part(*teams), WORDS) for job, teams in good), ("a remark",), left_out=bad)


def jobs(**teams: str) -> Objects:
    return {"jobs": [{"job": job, "teams": those} for job, those in teams.items()]}


def entry(address: str, team: str, rack: str = "1") -> Entry:
    return Entry((address,), {"team": team, "rack": rack})


ENTRIES = (entry("a:1", "a"), entry("b:1", "b"), entry("c:1", "c"), entry("a:2", "a"), entry("c:2", "c", "2"))


def test_groups_follow_the_answers_of_their_source() -> None:
    source = Source()
    found = Discovery((), groups_sources=[source])
    answers: dict[SdConfig, Answer] = {}

    def refresh() -> list[tuple[str, str]]:
        targets = found.refresh(lambda sd: answers.get(sd, Answer()))
        return sorted((target.job, target.instance) for target in targets)

    assert refresh() == []
    assert (found.sources, found.unanswered) == ((MONITORS,), (MONITORS,))
    answers[MONITORS] = Answer(1, objects=jobs(x="ab", y="c", z=""))
    assert refresh() == []
    assert (found.sources, found.unanswered, found.jobs) == ((MONITORS, LIST), (LIST,), ("x", "y"))
    assert (found.left_out, found.remarks, found.errors) == (("z is left out",), ("a remark",), ())
    answers[LIST] = Answer(1, ENTRIES)
    assert refresh() == [("x", "a:1"), ("x", "a:2"), ("y", "c:1")]
    assert [(d.job, d.reason) for d in found.dropped] == [
        ("x", 'the team must not be b, and is "b"'),
        ("y", 'relabelings[0] (keep): rack must match "1", and is "2"'),
    ]
    assert source.asked == 1  # once for each answer
    answers[MONITORS] = Answer(1, error=DiscoveryError("away"), objects=jobs(x="ab", y="c"))
    assert len(refresh()) == 3
    assert [str(error) for error in found.errors] == ["away"]
    answers[MONITORS] = Answer(2, objects=jobs(y="c"))
    assert refresh() == [("y", "c:1")]
    answers[MONITORS] = Answer(3)
    assert refresh() == []
    assert found.sources == (MONITORS,)


def test_a_group_without_targets_is_told_with_its_owner() -> None:
    found = Discovery((), groups_sources=[Source()])
    entries: Mapping[SdConfig, Answer] = {MONITORS: Answer(1, objects=jobs(x="b", y="d", z="a")), LIST: Answer()}
    found.refresh(entries.__getitem__)
    assert list(found.remarks) == ["a remark"]  # nothing is known yet
    found.refresh({**entries, LIST: Answer(1, ENTRIES)}.__getitem__)
    assert found.remarks == (
        "a remark",
        "Monitor x selects nothing: its rules drop all 1 addresses there; `cp targets --dropped --search x` says why",
        "Monitor x selects nothing: there is no address in its namespaces",
    )
    wrong = (*ENTRIES, Entry(("d:port",), {**ENTRIES[0].labels, "team": "d"}))
    found.refresh({**entries, LIST: Answer(2, wrong)}.__getitem__)
    assert [remark for remark in found.remarks if "no address" in remark] == []
    assert "d:port" in str(found.errors[0])


def test_a_part_has_the_entries_of_its_values_or_all_others() -> None:
    parts, answer = Parts(), Answer(1, ENTRIES)
    assert asked(part("a")) is LIST is asked(LIST)
    assert parts.of(LIST, answer) is answer
    assert [e.addresses[0] for e in parts.of(part("c", "a", "z"), answer).entries] == ["c:1", "c:2", "a:1", "a:2"]
    assert [e.addresses[0] for e in parts.of(part("a", others=True), answer).entries] == ["b:1", "c:1", "c:2"]
    newer = Answer(2, ENTRIES[:1], DiscoveryError("away"))
    assert parts.of(part("a"), newer) == newer
    parts.keep({})
    assert parts.of(part("a"), Answer(2, ENTRIES[1:])).entries == ENTRIES[3:4]


def test_words_say_what_a_rule_asks_and_what_it_found() -> None:
    from collectors.relabel import Dropping

    words = RuleWords((Ask("a must be b"), Ask("c must not be there", shows=False)))
    told = [words.told(Dropping(0, DROPS_B[0], value, "")) for value in ("x;true", ";true", "", ";", "y" * 99)]
    assert told == [
        'a must be b, and is "x"', 'a must be b, and there is none', 'a must be b, and there is none',
        'a must be b, and there is none', f'a must be b, and is "{"y" * 80}…"',
    ]  # fmt: skip
    assert words.told(Dropping(1, DROPS_B[0], "true", "")) == "c must not be there"
    assert words.told(Dropping(3, DROPS_B[0], "b", "")) == (
        'relabel_configs[1] (drop): team must not match "b", and is "b"'
    )
