"""Every event and its near misses: lines with the engines' own words; hosts, times, sizes and names are invented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collectors.errors import LogsError
from collectors.logs.patterns import LogCatalogue, load_patterns
from collectors.logs.settings import ENGINES

CASES = Path(__file__).parents[3] / "fixtures" / "logs"


@pytest.fixture(scope="module")
def known() -> LogCatalogue:
    return load_patterns()


def cases(engine: str) -> list[tuple[tuple[str, ...], str]]:
    """Return the cases of a file: `event event | line`, with `-` for a line that tells none."""
    found = []
    for row in (CASES / f"{engine}.txt").read_text(encoding="utf-8").splitlines():
        events, _, line = row.partition(" | ")
        found.append((tuple(sorted(events.replace("-", "").split())), line.replace("\\|", "|")))
    return found


@pytest.mark.parametrize(
    ("engine", "events", "line"), [(engine, *case) for engine in ENGINES for case in cases(engine)]
)
def test_a_line_tells_its_events_and_no_other(
    known: LogCatalogue, engine: str, events: tuple[str, ...], line: str
) -> None:
    assert tuple(sorted(known.engines[engine].events_in(line))) == events


def seen() -> list[tuple[str, str, tuple[str, ...], str]]:
    """Return the lines that operators have shown in public: engine, its version, events, line."""
    found = []
    for row in (CASES / "seen.txt").read_text(encoding="utf-8").splitlines():
        engine, version, events, line = row.split(" | ", 3)
        found.append((engine, version, tuple(sorted(events.replace("-", "").split())), line))
    return found


@pytest.mark.parametrize(("engine", "version", "events", "line"), seen())
def test_lines_of_engines_old_and_new_tell_their_events(
    known: LogCatalogue, engine: str, version: str, events: tuple[str, ...], line: str
) -> None:
    assert tuple(sorted(known.engines[engine].events_in(line))) == events, version


def test_each_engine_is_known_in_several_versions_by_faults_and_by_lines_without_one() -> None:
    for engine in ENGINES:
        rows = [row for row in seen() if row[0] == engine]
        assert len({version for _, version, _, _ in rows}) >= 3, engine
        assert {bool(events) for _, _, events, _ in rows} == {True, False}, engine


@pytest.mark.parametrize("engine", ENGINES)
def test_what_holds_for_any_engine_holds_for_each(known: LogCatalogue, engine: str) -> None:
    for events, line in cases("any"):
        assert tuple(sorted(known.engines[engine].events_in(line))) == events, line


def test_every_engine_has_cases_and_every_pattern_of_its_events_too(known: LogCatalogue) -> None:
    assert tuple(known.engines) == ENGINES
    told = {event for engine in ENGINES for events, _ in cases(engine) for event in events}
    assert told == set(known.events)
    assert all(any(not events for events, _ in cases(engine)) for engine in ENGINES)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_user_who_quotes_a_fault_does_not_make_one(known: LogCatalogue, engine: str) -> None:
    lines = [line for _, line in cases(engine)] + [line for own, _, _, line in seen() if own == engine]
    for line in lines:
        for quoted in (f"the prompt is: {line}", f'INFO 11-29 15:00:00 [logger.py:41] "{line}"', f"> {line}"):
            # Access lines and TGI's last field are known by their ends, whatever comes before.
            if not re.search("text_generation_(?:router|client)", line):
                assert known.engines[engine].events_in(quoted) == (), quoted


def test_a_line_of_64_kib_takes_no_time_to_speak_of(known: LogCatalogue) -> None:
    line = "(EngineCore_DP0 pid=1) ERROR 11-10 12:30:57 [core.py:710] " + "Out of memory: " * 4096
    assert known.engines["triton"].events_in(line) == ()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("events: [", "not YAML"),
        ("events: {}\nengines: {any: {patterns: {}}}", "engines.any.patterns: Extra inputs are not permitted"),
        ("events: {}\nengines: {any: {events: {x: [a]}}}", "engines.any.events: x is not one of the events"),
        ("events: {}\nengines: {any: {}, vllm: {also: [x]}}", "engines.vllm.also: x is not one of the engines"),
        (
            "events: {x: {severity: warning, means: M., apart: A.}}\nengines: {any: {events: {x: ['(']}}}",
            "engines.any: error parsing regexp: missing closing )",
        ),
    ],
)
def test_a_fault_in_the_file_is_named(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(LogsError, match=r"p\.yaml") as caught:
        load_patterns(tmp_path / "p.yaml")
    assert fault in str(caught.value)
