"""Timelines of files on a real disk: written, rotated, truncated, deleted, replaced. Each line counts once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.logs import tail as tail_module
from collectors.logs.tail import LINGER_S, Tail
from tests.unit.collectors.logs.sinks import Lines


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "engine.log"
    path.write_text("before the start\n")
    return path


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def test_a_file_that_exists_at_start_is_read_from_its_end_and_a_later_one_from_its_beginning(
    log: Path, lines: Lines, tmp_path: Path
) -> None:
    tail = Tail([str(tmp_path / "*.log")], lines)
    tail.poll(0.0)
    assert lines.new() == []
    append(log, "one\ntwo\n")
    (tmp_path / "other.log").write_text("first of another\n")
    assert tail.poll(1.0) is False
    assert sorted(lines.new()) == ["first of another", "one", "two"]
    assert tail.files == 2
    tail.close()


def test_a_line_counts_when_it_is_whole(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    append(log, "half")
    tail.poll(1.0)
    assert lines.new() == []
    append(log, " and half\nnext")
    tail.poll(2.0)
    assert lines.new() == ["half and half"]


def test_the_end_of_a_line_that_began_before_the_start_is_skipped(log: Path, lines: Lines) -> None:
    append(log, "began before")
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    append(log, " and ended after\nnew\n")
    tail.poll(1.0)
    assert lines.new() == ["new"]


def test_rotation_by_rename_loses_no_line_and_repeats_none(log: Path, lines: Lines, tmp_path: Path) -> None:
    tail = Tail([str(tmp_path / "engine.log*")], lines)
    tail.poll(0.0)
    append(log, "1\n2\n")
    writer = log.open("ab")
    log.rename(tmp_path / "engine.log.1")
    log.write_text("4\n")
    writer.write(b"3\n")  # the engine has not reopened its log yet
    writer.flush()
    tail.poll(1.0)
    assert sorted(lines.new()) == ["1", "2", "3", "4"]
    (tmp_path / "engine.log.1").rename(tmp_path / "engine.log.2")
    log.rename(tmp_path / "engine.log.1")
    append(log, "5\n")
    writer.write(b"late\n")
    writer.close()
    tail.poll(2.0)
    assert sorted(lines.new()) == ["5", "late"]
    assert tail.files == 3


def test_a_rotated_file_that_no_pattern_names_is_read_to_its_end_and_then_closed(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    writer = log.open("ab")
    log.rename(log.with_name("old"))
    tail.poll(10.0)
    writer.write(b"last words\nwithout a line break")
    writer.close()
    tail.poll(10.0 + LINGER_S - 1)
    assert (lines.new(), tail.files) == (["last words"], 1)
    tail.poll(10.0 + LINGER_S)
    assert (lines.new(), tail.files) == (["without a line break"], 0)


def test_copytruncate_starts_again_at_the_beginning_and_does_not_read_the_copy(
    log: Path, lines: Lines, tmp_path: Path
) -> None:
    tail = Tail([str(tmp_path / "engine.log*")], lines)
    tail.poll(0.0)
    append(log, "1\n2\n")
    tail.poll(1.0)
    assert lines.new() == ["1", "2"]
    (tmp_path / "engine.log.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)
    append(log, "3\n")
    tail.poll(2.0)
    assert lines.new() == ["3"]


def test_a_truncated_file_that_has_grown_past_its_old_length_is_known_by_its_first_bytes(
    log: Path, lines: Lines
) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    os.truncate(log, 0)
    append(log, "a line that is longer than all there was\n")
    tail.poll(1.0)
    assert lines.new() == ["a line that is longer than all there was"]


def test_a_writer_that_goes_on_at_its_old_offset_after_a_truncation_leaves_a_hole(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    with log.open("r+b") as writer:
        writer.seek(0, os.SEEK_END)
        os.truncate(log, 0)
        writer.seek(1 << 30)
        writer.write(b"behind a hole of a GiB\n")
    tail.poll(1.0)
    assert lines.new() == ["behind a hole of a GiB"]
    assert lines.left_out == {}


def test_a_file_that_is_deleted_and_made_again_is_read_from_its_beginning(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    log.unlink()
    tail.poll(1.0)
    log.write_text("made again\n")
    tail.poll(2.0)
    tail.poll(3.0)
    assert lines.new() == ["made again"]
    tail.poll(1.0 + LINGER_S)
    assert tail.files == 1


def test_a_link_that_is_swapped_leads_to_the_new_file_and_the_old_one_is_read_to_its_end(
    tmp_path: Path, lines: Lines
) -> None:
    pods = tmp_path / "pods"
    pods.mkdir()
    (pods / "0.log").write_text("old\n")
    link = tmp_path / "chat.log"
    link.symlink_to(pods / "0.log")
    tail = Tail([str(link)], lines)
    tail.poll(0.0)
    append(pods / "0.log", "last of the old\n")
    (pods / "1.log").write_text("first of the new\n")
    link.unlink()
    link.symlink_to(pods / "1.log")
    tail.poll(1.0)
    assert sorted(lines.new()) == ["first of the new", "last of the old"]


def test_two_names_of_one_file_are_one_file(log: Path, lines: Lines, tmp_path: Path) -> None:
    (tmp_path / "link.log").symlink_to(log)
    os.link(log, tmp_path / "hard.log")
    before = len(list(Path("/proc/self/fd").iterdir()))
    tail = Tail([str(tmp_path / "*.log"), str(log)], lines)
    tail.poll(0.0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    append(log, "once\n")
    tail.poll(1.0)
    assert (lines.new(), tail.files) == (["once"], 1)
    tail.close()


def test_a_name_that_comes_back_starts_the_wait_anew(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    for gone_at in (0.0, 2 * LINGER_S):
        log.rename(log.with_name("away"))
        tail.poll(gone_at + 1.0)
        log.with_name("away").rename(log)
        tail.poll(gone_at + 2.0)
        log.rename(log.with_name("away"))
        tail.poll(gone_at + LINGER_S)
        log.with_name("away").rename(log)
        append(log, "once\n")
        tail.poll(gone_at + LINGER_S + 1.0)
        assert lines.new() == ["once"]
    tail.close()


def test_a_container_runtimes_lines_are_unwrapped(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    append(log, "2026-11-29T15:00:00.1Z stderr P Engine core proc \n")
    tail.poll(1.0)
    append(log, "2026-11-29T15:00:00.1Z stderr F died\n")
    tail.poll(2.0)
    assert lines.new() == ["Engine core proc died"]


def test_long_and_binary_lines_are_counted_and_the_next_line_is_whole(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    append(log, b"x" * 1_000_000 + b"\n" + b"bin\0ary\n" + b"caf\xe9\n" + b"next\n")
    tail.poll(1.0)
    assert [len(text) for text in lines.new()] == [64 << 10, 4, 4]
    assert lines.left_out == {"long": 1, "binary": 1}


def test_a_busy_file_leaves_the_others_their_turn(log: Path, lines: Lines, tmp_path: Path) -> None:
    other = tmp_path / "z.log"
    other.write_text("")
    tail = Tail([str(tmp_path / "*.log")], lines, turn_bytes=100)
    tail.poll(0.0)
    append(log, "0123456789\n" * 20)
    append(other, "other\n")
    assert tail.poll(1.0) is True
    assert lines.new().count("other") == 1
    polls = 1
    while tail.poll(1.0):
        polls += 1
    assert polls == 2
    assert len(lines.new()) == 11


def test_a_stop_does_not_wait_for_the_rest_of_a_busy_file(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    append(log, "x\n" * 1_000_000)
    tail.stop()
    tail.poll(1.0)
    assert lines.new() == []
    tail.close()


def test_thousands_of_lines_are_read_in_one_turn(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    append(log, "".join(f"INFO line {n}\n" for n in range(50_000)))
    assert tail.poll(1.0) is False
    assert lines.taken[::10_000] == [f"INFO line {n}" for n in range(0, 50_000, 10_000)]


def test_what_is_no_regular_file_is_refused_and_named(tmp_path: Path, lines: Lines) -> None:
    os.mkfifo(tmp_path / "fifo.log")
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "dangling.log").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.log").symlink_to(tmp_path / "loop.log")
    tail = Tail([str(tmp_path / "*.log"), "/dev/null"], lines)
    tail.poll(0.0)
    assert sorted((fault.kind, fault.sentence.split(":")[0]) for fault in tail.faults) == [
        ("not-a-file", "/dev/null"),
        ("not-a-file", str(tmp_path / "fifo.log")),
        ("not-a-file", str(tmp_path / "folder.log")),
        ("unreadable", str(tmp_path / "loop.log")),
    ]
    assert tail.files == 0


def test_a_fifo_that_takes_a_files_place_does_not_stop_the_reader(log: Path, lines: Lines) -> None:
    tail = Tail([str(log)], lines)
    tail.poll(0.0)
    log.unlink()
    os.mkfifo(log)
    tail.poll(1.0)
    assert [fault.kind for fault in tail.faults] == ["not-a-file"]


def test_a_file_that_becomes_readable_is_read_from_where_it_was_first_seen(
    log: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = log.with_name("later.log")
    shut = {str(log), str(later)}
    real = os.open

    def guarded(path: str, flags: int) -> int:
        if path in shut:
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(os, "open", guarded)  # root reads everything, so permissions cannot show it
    tail = Tail([str(log), str(later)], lines)
    tail.poll(0.0)
    assert tail.faults[0].sentence == f"{log}: cannot be read: Permission denied"
    later.write_text("all of it\n")
    tail.poll(1.0)
    assert len(tail.faults) == 2
    shut.clear()
    tail.poll(2.0)
    append(log, "from here on\n")
    tail.poll(3.0)
    assert lines.new() == ["all of it", "from here on"]
    assert not tail.faults


def test_only_so_many_files_are_followed_and_the_others_named(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "MAX_FILES", 2)
    for number in range(3):
        (tmp_path / f"{number}.log").write_text("")
        os.utime(tmp_path / f"{number}.log", (number, number))
    tail = Tail([str(tmp_path / "*.log")], lines)
    tail.poll(0.0)
    assert [(f.kind, f.sentence) for f in tail.faults] == [
        ("too-many", f"{tmp_path / '0.log'}: is not read: 2 files are followed already, and 1 have no room")
    ]
    append(tmp_path / "0.log", "not read\n")
    (tmp_path / "1.log").unlink()
    tail.poll(1.0)
    tail.poll(1.0 + LINGER_S)
    tail.poll(2.0 + LINGER_S)
    append(tmp_path / "0.log", "read\n")
    tail.poll(3.0 + LINGER_S)
    assert (lines.new(), tail.files, tail.faults) == (["read"], 2, ())


def test_a_pattern_without_a_file_is_named_until_one_appears(log: Path, lines: Lines, tmp_path: Path) -> None:
    tail = Tail([str(tmp_path / "vlm" / "*.log"), str(tmp_path / "engine.lgo")], lines)
    tail.poll(0.0)
    assert tail.faults == (("no-file", f"{tmp_path}/vlm/*.log, {tmp_path}/engine.lgo: no file matches"),)
    (tmp_path / "engine.lgo").write_text("from its beginning\n")
    tail.poll(1.0)
    assert lines.new() == ["from its beginning"]
    assert not tail.faults


def test_compressed_files_are_not_followed(tmp_path: Path, lines: Lines) -> None:
    (tmp_path / "engine.log.2.gz").write_bytes(b"\x1f\x8b")
    tail = Tail([str(tmp_path / "*")], lines)
    tail.poll(0.0)
    assert tail.files == 0


def test_no_file_is_left_open(log: Path, lines: Lines) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    tail = Tail([str(log)], lines)
    for turn in range(20):
        tail.poll(turn * 2 * LINGER_S)
        log.rename(log.with_name("old"))
        log.write_text(f"{turn}\n")
    tail.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
