"""Two runs of the exporter: the second one goes on where the first one ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.exposition.parser import parse
from collectors.logs import reader
from collectors.logs.commands import Docker, Journal, Pod
from collectors.logs.exporter import LogSource
from collectors.logs.patterns import load_patterns
from collectors.logs.places import FilePlace, LogPlace, Places
from collectors.logs.settings import LogSettings, PodLog
from collectors.logs.tail import LINGER_S, Tail
from controlplane.whole_file import write_whole
from tests.patience import HANG_S
from tests.unit.collectors.logs.sinks import Lines

OOM = "RuntimeError: CUDA error: out of memory\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def run(pattern: Path, before: LogPlace | None) -> tuple[list[str], LogPlace]:
    """Return the lines of one run, and its place at the end."""
    lines = Lines()
    tail = Tail([str(pattern)], lines, before=before)
    while tail.poll(0.0):
        pass
    place = tail.place()
    tail.close()
    return lines.taken, place


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_text("of old\n")
    return path


def test_the_first_run_reads_from_the_end_and_the_next_one_what_came_meanwhile(log: Path) -> None:
    taken, place = run(log, None)
    assert taken == []
    append(log, "one\ntwo\nhal")
    taken, place = run(log, place)
    assert taken == ["one", "two"]
    append(log, "f\n")
    taken, place = run(log, place)
    assert taken == ["half"]
    assert run(log, place)[0] == []


def test_a_line_whose_beginning_was_before_the_first_run_is_skipped_by_the_next_one_too(log: Path) -> None:
    append(log, "began")
    _, place = run(log, None)
    append(log, " long ago\nnew\n")
    assert run(log, place)[0] == ["new"]


def test_a_file_that_was_renamed_meanwhile_is_read_to_its_end_though_no_pattern_matches_it(log: Path) -> None:
    _, place = run(log, None)
    append(log, "last of the old\n")
    log.rename(log.with_name("a.log.1"))
    log.write_text("first of the new\n")
    taken, place = run(log, place)
    assert sorted(taken) == ["first of the new", "last of the old"]
    assert run(log, place)[0] == []


def test_a_renamed_file_is_left_after_a_while_and_forgotten(log: Path) -> None:
    _, place = run(log, None)
    log.rename(log.with_name("a.log.1"))
    log.write_text("new\n")
    tail = Tail([str(log)], Lines(), before=place)
    tail.poll(0.0)
    assert tail.files == 2
    tail.poll(LINGER_S)
    assert (tail.files, len(tail.place().files)) == (1, 1)
    tail.close()


@pytest.mark.parametrize("text", ["new\n", "another beginning, and longer than the old file was\n"])
def test_a_file_that_was_written_anew_meanwhile_is_read_as_a_whole(log: Path, text: str) -> None:
    _, place = run(log, None)
    log.write_text(text)
    assert run(log, place)[0] == [text.strip()]


def test_a_file_that_appeared_meanwhile_is_read_as_a_whole_and_a_copy_is_not(log: Path) -> None:
    _, place = run(log.with_name("a.log*"), None)
    log.with_name("a.log.1").write_text("copied\n")
    log.with_name("a.log-new").write_text("whole\n")
    assert run(log.with_name("a.log*"), place)[0] == ["whole"]


def test_a_folder_that_is_not_there_at_the_start_costs_no_place(log: Path, tmp_path: Path) -> None:
    _, place = run(log, None)
    kept, away = log.read_bytes(), tmp_path / "away"
    away.mkdir()
    log.rename(away / "a.log")
    folder, lines = tmp_path / "later", Lines()
    (key, own) = next(iter(place.files.items()))
    before = LogPlace({key: FilePlace(str(folder / "a.log"), own.offset, own.head)})
    tail = Tail([str(folder / "*.log")], lines, before=before)
    tail.poll(0.0)
    assert tail.place() == before
    append(away / "a.log", "meanwhile\n")
    away.rename(folder)
    tail.poll(1.0)
    tail.close()
    assert (lines.taken, kept) == (["meanwhile"], b"of old\n")


def test_the_journal_and_docker_go_on_after_what_an_earlier_run_read() -> None:
    assert "--cursor=s=ab01;i=1f;b=2" in Journal("a", 100.0, "s=ab01;i=1f;b=2").words()
    assert "--since=@90" in Journal("a", 100.0, Journal("a", 90.0).at).words()
    docker = Docker("a", 100.0, "2026-11-29T10:00:00.000000001Z")
    assert docker.words()[5] == "2026-11-29T10:00:00.000000001Z"
    assert docker.text_of("2026-11-29T10:00:00.000000001Z read before") is None
    assert docker.text_of("2026-11-29T10:00:00.000000002Z new") == "new"
    assert docker.at == "2026-11-29T10:00:00.000000002Z"


def test_kubernetes_goes_on_after_the_last_line_whatever_the_zone_and_the_digits_of_its_time() -> None:
    log = PodLog("serving", "deploy/chat", "engine")
    pod = Pod(log, 100.0, "2026-11-29T23:00:00.5+08:00")
    assert pod.place == "serving/deploy/chat"
    assert pod.words() == (
        *("kubectl", "logs", "--follow", "--timestamps", "--since-time=2026-11-29T23:00:00.5+08:00"),
        *("--namespace", "serving", "--container", "engine", "deploy/chat"),
    )
    assert pod.text_of("2026-11-29T15:00:00.49Z the second comes again from its beginning") is None
    assert pod.text_of("2026-11-29T15:00:00.500Z read before") is None
    assert pod.text_of("2026-11-29T15:00:00.500000001Z new") == "new"
    assert pod.text_of("2026-11-29T15:00:00.500000001Z of the same instant") == "of the same instant"
    assert pod.text_of("error: no time") == "error: no time"
    assert (pod.at, pod.written_ns) == ("2026-11-29T15:00:00.500000001Z", 0)
    pod.words()
    assert pod.text_of("2026-11-29T15:00:00.500000001Z read before") is None
    assert "--container" not in Pod(PodLog("serving", "vllm-0"), 100.0).words()
    assert Pod(PodLog("serving", "vllm-0"), 100.25).words()[4] == "--since-time=1970-01-01T00:01:40.250000Z"


@pytest.mark.parametrize("at", ["", "-f", "--vacuum-size=1", "s=\n", "@-5", "soon"])
def test_a_place_that_makes_no_sense_is_none(at: str) -> None:
    assert Journal("a", 100.0, at).words() == Journal("a", 100.0).words()
    assert Docker("a", 100.0, at).words() == Docker("a", 100.0).words()
    assert Pod(PodLog("a", "b"), 100.0, at).words() == Pod(PodLog("a", "b"), 100.0).words()


def test_places_are_kept_of_the_logs_that_are_read_and_of_no_other(tmp_path: Path) -> None:
    places = Places(tmp_path / "state", write_whole)
    known = LogPlace({(1, 2): FilePlace("/a", 3, b"head\xff")}, "")
    places.note("a", known)
    places.note("gone", LogPlace(at="x"))
    places.save()
    again = Places(tmp_path / "state", write_whole)
    again.load(["a", "new"])
    assert (again.of("a"), again.of("new"), again.of("gone")) == (known, None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 2, "logs": {}}',
        '{"version": 1, "logs": {"a": {"at": 1, "files": []}}}',
        '{"version": 1, "logs": {"a": {"at": "", "files": [[1, 2, -3, "", "/a"]]}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_told_and_counts_as_none(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text(text)
    places = Places(tmp_path / "state", write_whole)
    places.load(["a"])
    assert places.of("a") is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/state: is damaged, or of another version of the exporter; logs are read from their end"
    ]


def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    places = Places(tmp_path / "none" / "state", write_whole)
    places.load(["a"])
    places.note("a", LogPlace(at="x"))
    places.save()
    places.save()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/none/state: cannot be written: No such file or directory; lines that come while the exporter is "
        "away will not be read"
    ]
    caplog.clear()
    (tmp_path / "none").mkdir()
    places.save()
    assert caplog.records == []
    assert json.loads((tmp_path / "none" / "state").read_text())["logs"]["a"]["at"] == "x"


async def test_an_exporter_that_starts_again_counts_what_came_meanwhile_once(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "TURN_S", 0.01)

    async def counted(write: Callable[[], None], expected: float) -> float:
        places = Places(tmp_path / "state", write_whole)
        source = LogSource([LogSettings("a", "vllm", files=(str(log),))], load_patterns(), places=places)
        end, count = time.monotonic() + HANG_S, -1.0
        while time.monotonic() < end:
            body = parse(await source.read(1.0))
            found = {(s.name, dict(s.labels).get("event")): v for s, v in zip(body.series, body.values, strict=True)}
            count = found["llm_log_events_total", "cuda_out_of_memory"]
            if found["log_exporter_files", None] == 1:
                write()
                write = lambda: None  # noqa: E731
                if count == expected:
                    break
            await asyncio.sleep(0.01)
        await source.close()
        return count

    assert await counted(lambda: append(log, OOM), 1.0) == 1.0
    append(log, OOM + OOM)
    assert await counted(lambda: None, 2.0) == 2.0
    append(log, OOM)
    assert await counted(lambda: None, 1.0) == 1.0


@pytest.mark.parametrize(
    ("kept", "log"),
    [
        (LogPlace(at="2026-11-29T15:00:00Z"), {"journald": "vllm.service"}),
        (LogPlace(at="s=1;i=2a"), {"docker": "vllm"}),
        (LogPlace(at="soon"), {"kubernetes": PodLog("serving", "vllm-0")}),
        (LogPlace({(1, 2): FilePlace("/a", 3, b"")}), {"journald": "vllm.service"}),
        (LogPlace(at="s=1;i=2a"), {"files": ("FILE",)}),
    ],
)
async def test_a_place_of_another_kind_of_log_is_told_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: LogPlace, log: dict[str, Any]
) -> None:
    append(tmp_path / "engine.log", OOM)
    if "files" in log:
        log = {"files": (str(tmp_path / "engine.log"),)}
    places = Places(tmp_path / "state", write_whole)
    places.note("a", kept)
    places.save()
    settings = LogSettings("a", "vllm", **log)
    source = LogSource([settings], load_patterns(), None, Places(tmp_path / "state", write_whole))
    try:
        told = [record.getMessage() for record in caplog.records if "kept place" in record.getMessage()]
        assert told == ["log a: its kept place is one of another kind of log; it is read from its end"]
        assert source.story()["events"] == []
    finally:
        await source.close()
