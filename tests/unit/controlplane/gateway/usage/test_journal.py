"""A worker's journal and the supervisor's reading of it: on a good disk, a full one, and after kill -9."""

from __future__ import annotations

import fcntl
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from controlplane.gateway.usage import journal as module
from controlplane.gateway.usage import segments as reading_module
from controlplane.gateway.usage.journal import Journal
from controlplane.gateway.usage.lines import FIELDS, entry, heading, line
from controlplane.gateway.usage.segments import Segments
from tests.fakes.usage_meters import Meters
from tests.fakes.usage_records import record
from tests.patience import until

MIB = 2**20


def sequences(folder: Path) -> list[int]:
    """Return the sequence numbers in all files, in order."""
    found = []
    for path in sorted(folder.glob("*.journal")):
        for data in path.read_bytes().splitlines()[1:]:
            read = entry(data, FIELDS)
            found.append(read.sequence if read else -1)
    return found


def shipped(segments: Segments) -> tuple[int, int]:
    """Acknowledge everything, and return the numbers of records and of prompt tokens."""
    requests = tokens = 0
    while reading := segments.next():
        requests += reading.batch.records
        tokens += sum(sums.prompt_tokens for sums in reading.batch.rows.values())
        segments.acknowledge(reading, reading.batch.last)
    return requests, tokens


async def test_records_are_on_the_disk_in_order_after_close(tmp_path: Path) -> None:
    meters = Meters()
    journal = Journal(tmp_path / "0", MIB, meters)
    for _ in range(500):
        journal.append(record())
    assert journal.close()
    assert sequences(tmp_path / "0") == list(range(1, 501))
    assert (meters.records, meters.losses) == (500, {})
    assert (tmp_path / "0").stat().st_mode & 0o777 == 0o700
    (path,) = (tmp_path / "0").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_records_reach_the_disk_by_themselves(tmp_path: Path) -> None:
    meters = Meters()
    journal = Journal(tmp_path / "0", MIB, meters)
    journal.append(record())
    await until(lambda: meters.records == 1)
    assert sequences(tmp_path / "0") == [1]
    assert journal.close()


async def test_a_long_journal_has_several_files_and_they_are_deleted_once_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(reading_module, "BATCH_RECORDS", 7)
    meters = Meters()
    journal = Journal(tmp_path / "0", MIB, meters)
    for number in range(1, 61):
        journal.append(record())
        if number % 10 == 0:
            await until(partial(lambda number: meters.records == number, number))
    files = sorted((tmp_path / "0").iterdir())
    assert len(files) > 3
    segments = Segments(tmp_path, meters.damaged)
    assert shipped(segments) == (60, 60 * 12)
    # The newest one has a writer; all others had their end.
    assert list((tmp_path / "0").iterdir()) == files[-1:]
    journal.append(record())
    await until(lambda: meters.records == 61)
    assert shipped(segments) == (1, 12)
    assert journal.close()
    assert shipped(segments) == (0, 0)
    assert list((tmp_path / "0").iterdir()) == []
    assert meters.losses == {}


async def test_each_start_begins_an_epoch_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        journal = Journal(tmp_path / "0", MIB, Meters())
        journal.append(record())
        assert journal.close()
    segments = Segments(tmp_path, Meters().damaged)
    first = segments.next()
    assert first is not None
    segments.acknowledge(first, 1)
    second = segments.next()
    assert second is not None
    assert (first.batch.first, second.batch.first) == (1, 1)
    assert first.batch.epoch < second.batch.epoch


async def test_a_journal_at_its_bound_loses_new_records_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    meters = Meters()
    journal = Journal(tmp_path / "0", 8000, meters)
    for number in range(1, 101):
        journal.append(record())
        await until(partial(lambda number: meters.records + meters.losses["full"] == number, number))
    kept = meters.records
    assert 20 < kept < 60
    assert sum(path.stat().st_size for path in (tmp_path / "0").iterdir()) <= 8000
    assert sequences(tmp_path / "0") == list(range(1, kept + 1))
    told = [r.getMessage() for r in caplog.records if "usage records are lost" in r.getMessage()]
    assert len(told) == 1 and "gateway.max_journal_bytes" in told[0]

    segments = Segments(tmp_path, meters.damaged)
    assert shipped(segments) == (kept, kept * 12)
    journal.append(record())
    await until(lambda: meters.records == kept + 1)
    assert shipped(segments) == (1, 12)
    assert not journal.close()  # something was lost, and it says so


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse writes beyond `size` bytes of a file: in the middle of a write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_records_wait_in_memory_for_a_disk_that_refuses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    meters = Meters()
    journal = Journal(tmp_path / "0", MIB, meters)
    with largest_file(1500):
        for _ in range(20):
            journal.append(record())
        await until(lambda: any("wait in memory" in r.getMessage() for r in caplog.records))
        assert meters.records == 0
    await until(lambda: meters.records == 20)
    assert journal.close()
    segments = Segments(tmp_path, meters.damaged)
    assert shipped(segments) == (20, 240)
    assert meters.losses == {}


@pytest.mark.parametrize("size", [0, 1, 100, len(heading()) - 1])
async def test_a_disk_without_room_for_a_heading_is_left_without_files(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    meters = Meters()
    journal = Journal(tmp_path / "0", MIB, meters)
    with largest_file(size):
        journal.append(record())
        await until(lambda: journal._writer._number > 3)  # it has tried again
        await until(lambda: not list((tmp_path / "0").iterdir()))
        assert not list((tmp_path / "0").glob("*.journal")), "records behind half a heading could not be read"
    await until(lambda: meters.records == 1)
    assert journal.close()
    assert [path.suffix for path in (tmp_path / "0").iterdir()] == [".journal"]
    assert shipped(Segments(tmp_path, meters.damaged)) == (1, 12)
    assert meters.losses == {}


async def test_memory_for_a_disk_that_refuses_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    monkeypatch.setattr(module, "BUFFER_BYTES", 5000)
    (tmp_path / "0").write_text("a file where the folder should be")
    meters = Meters()
    journal = Journal(tmp_path / "0", MIB, meters)
    for number in range(100):
        journal.append(record())
        if number % 10 == 9:
            await until(lambda: journal._pieces.empty() and not journal._records)
    await until(lambda: meters.losses.total() > 50)
    (tmp_path / "0").unlink()
    await until(lambda: meters.records + meters.losses.total() == 100)
    assert meters.records > 10
    journal.close()
    assert shipped(Segments(tmp_path, meters.damaged)) == (meters.records, meters.records * 12)


_WORKER = """
import asyncio, sys
from pathlib import Path
from controlplane.gateway.usage.journal import Journal
from tests.fakes.usage_meters import Meters
from tests.fakes.usage_records import record
from functools import partial

async def main():
    meters = Meters()
    journal = Journal(Path(sys.argv[1]) / "0", 2**30, meters)
    said = False
    while True:
        for _ in range(50):
            journal.append(record())
        await asyncio.sleep(0.001)
        if meters.records >= 200 and not said:
            said = True
            print("written", flush=True)

asyncio.run(main())
"""


def test_kill_9_of_a_worker_leaves_whole_records_and_its_successor_goes_on(tmp_path: Path) -> None:
    root = Path(__file__).parents[5]
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", _WORKER, str(tmp_path)], stdout=subprocess.PIPE, cwd=root)
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    meters = Meters()
    found = sequences(tmp_path / "0")
    whole = [number for number in found if number > 0]
    requests, tokens = shipped(Segments(tmp_path, meters.damaged))
    assert requests == len(whole) >= 400
    assert tokens == 12 * requests
    assert list((tmp_path / "0").glob("*.journal")) == []


def test_the_end_of_a_file_that_was_torn_is_told_and_a_later_piece_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0").mkdir()
    path = tmp_path / "0" / "00aa-00000001.journal"
    whole, torn = line(1, record()), line(2, record())
    path.write_bytes(heading() + whole + torn[:30])
    meters = Meters()
    with path.open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        segments = Segments(tmp_path, meters.damaged)
        assert shipped(segments) == (1, 12)
        assert path.exists()  # its writer may write the rest
        writer.write(torn[30:] + line(3, record())[:-5])
        writer.flush()
        assert shipped(segments) == (1, 12)
    assert shipped(segments) == (0, 0)
    assert not path.exists()
    assert meters.losses == {"damaged": 1}
    assert any("was not written to its end" in r.getMessage() for r in caplog.records)


def test_a_damaged_record_is_left_out_and_told(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    lines = [line(number, record()) for number in range(1, 4)]
    lines[1] = lines[1].replace(b"acme", b"evil")
    (tmp_path / "0" / "00aa-00000001.journal").write_bytes(heading() + b"".join(lines))
    meters = Meters()
    segments = Segments(tmp_path, meters.damaged)
    reading = segments.next()
    assert reading is not None
    assert (reading.batch.first, reading.batch.last, reading.batch.records) == (1, 3, 2)
    assert meters.losses == {"damaged": 1}


def test_a_file_of_a_later_release_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "0").mkdir()
    path = tmp_path / "0" / "00aa-00000001.journal"
    path.write_bytes(b'{"format":9,"fields":[]}\nwhatever\n')
    segments = Segments(tmp_path, Meters().damaged)
    assert segments.next() is None
    assert segments.next() is None
    assert path.exists()
    assert [r.getMessage() for r in caplog.records] == [f"usage: {path} is damaged or of a later release, and is kept"]


async def test_what_waits_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "0", MIB, Meters())
    journal.append(record())
    assert journal.close()
    segments = Segments(tmp_path, Meters().damaged)
    reading = segments.next()
    assert reading is not None
    size, oldest = segments.waiting()
    (path,) = (tmp_path / "0").iterdir()
    assert size > 100 and oldest == path.stat().st_mtime
    segments.acknowledge(reading, 1)
    assert segments.waiting() == (0, None)
