"""How the words of a verb are read: every way to write an option, and what is said of every wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.errors import WrongUsage
from controlplane.cli.verbs.grammar import Operand, Option, Verb, distance, nearest, parse, whole

VERB = Verb(
    "copy things",
    "x:y",
    "Copies.",
    (Operand("source", "SOURCE", "Where from."), Operand("rest", "FILE…", "Others.", Path, False, True)),
    (
        Option("output", "How.", "FORMAT", "-o", "table", choices=("table", "json")),
        Option("limit", "So many.", "N", default=20, read=whole(1, 1000)),
        Option("name", "Whose.", "NAME", many=True),
        Option("dry_run", "Do nothing.", short="-n"),
        Option("watch", "Go on.", short="-w"),
    ),
)
DEFAULTS: dict[str, Any] = {
    "source": "a",
    "rest": [],
    "output": "table",
    "limit": 20,
    "name": None,
    "dry_run": False,
    "watch": False,
}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["-o", "json"], {"output": "json"}),
        (["-ojson"], {"output": "json"}),
        (["-o=json"], {"output": "json"}),
        (["--output=json"], {"output": "json"}),
        (["--output", "json", "--output", "table"], {"output": "table"}),
        (["--limit", "7", "--dry-run"], {"limit": 7, "dry_run": True}),
        (["-nw"], {"dry_run": True, "watch": True}),
        (["-nojson"], {"dry_run": True, "output": "json"}),
        (["--name", "x", "--name=-y"], {"name": ["x", "-y"]}),
        (["--name="], {"name": [""]}),
        (["b", "-n", "c"], {"rest": [Path("b"), Path("c")], "dry_run": True}),
        (["--", "-n", "--"], {"rest": [Path("-n"), Path("--")]}),
        (["-"], {"rest": [Path("-")]}),
    ],
)
def test_words_are_read(words: list[str], changed: dict[str, Any]) -> None:
    assert parse(VERB, ["a", *words]) == {**DEFAULTS, **changed}


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["--limit", "5", "-h", "--nonsense"]])
def test_who_asks_for_help_gets_it_whatever_else_is_wrong_behind(words: list[str]) -> None:
    assert parse(VERB, words) == {"help": True}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "SOURCE is missing: where from."),
        (["a", "--ouput", "json"], "copy things has no option --ouput; did you mean --output?; write -- before"),
        (["a", "-x"], "copy things has no option -x"),
        (["a", "-o"], "-o needs a value: -o FORMAT"),
        (["a", "-o", "jsn"], "-o jsn: expected one of table, json; did you mean json?"),
        (["a", "--dry-run=yes"], "--dry-run takes no value"),
        (["a", "--limit", "0"], "--limit 0: expected a whole number from 1 to 1000"),
        (["a", "--limit", "1_0"], "--limit 1_0: expected a whole number"),
        (["a", "--limit", "٣"], "--limit ٣: expected a whole number"),
        (["a", "--limit", "9" * 5000], "--limit 999"),
    ],
)
def test_what_is_wrong_is_named_with_the_usage(words: list[str], message: str) -> None:
    with pytest.raises(WrongUsage) as refused:
        parse(VERB, words)
    assert str(refused.value).startswith(message)
    assert refused.value.reasons[0] == "usage: controlplane copy things SOURCE [FILE…]"


def test_a_required_option_and_a_word_too_many() -> None:
    verb = Verb("up", "x:y", "", options=(Option("config", "The file.", "FILE", "-c", required=True),))
    with pytest.raises(WrongUsage, match="--config is missing: the file"):
        parse(verb, [])
    with pytest.raises(WrongUsage, match="unexpected word 'b'"):
        parse(verb, ["-c", "a", "b"])
    assert parse(verb, ["-c", "a"]) == {"config": "a"}
    named = verb._replace(operands=(Operand("model", "MODEL", "The model."),))
    with pytest.raises(WrongUsage, match="MODEL is missing: the model"):
        parse(named, [])


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("promote", "promote", 0),
        ("promot", "promote", 1),
        ("prmoote", "promote", 1),
        ("promtoe", "promote", 1),
        ("pramote", "promote", 1),
        ("proomote", "promote", 1),
        ("rolback", "rollback", 1),
        ("rlobcak", "rollback", 3),
        ("", "abc", 3),
    ],
)
def test_edits_are_counted_and_two_swapped_neighbours_are_one(one: str, other: str, edits: int) -> None:
    assert (distance(one, other), distance(other, one)) == (edits, edits)


def test_the_nearest_word_is_close_or_begins_so() -> None:
    known = ["status", "top", "rollouts"]
    assert nearest("statsu", known) == "status"
    assert nearest("roll", known) == "rollouts"
    assert nearest("tap", known) == "top"
    assert nearest("to", ["status"]) is None
    assert nearest("zzz", known) is None
