"""The content of a version on disk: what counts, what is followed, what is refused, and what is not read again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.backup.content import marks, reading
from controlplane.backup.content.files import ContentFile, content_files
from controlplane.backup.content.reading import PAUSE_S, ROUNDS, Reading, read_content
from controlplane.backup.errors import BackupError, SourceIncomplete, SourceMoving
from controlplane.backup.sources import spans
from controlplane.backup.tally import Tally
from tests.unit.controlplane.backup.content.model_files import MIB, cached, model
from tests.unit.controlplane.backup.world import write_files

LATER_S = 60.0
"""The readings' clock is ahead of the files by this, so that no file was just written to."""


def later() -> float:
    return time.time() + LATER_S


class Paused:
    """Pauses of a reading. `acts` are done in the pauses, one after another."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self.acts, self.seconds = list(acts), []  # type: list[Callable[[], object]], list[float]

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if self.acts:
            self.acts.pop(0)()


def digest(root: Path) -> str:
    return read_content(root, Reading(pause=Paused())).digest


def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each file whose bytes are read."""
    found: list[str] = []
    whole = reading._read

    def read(one: ContentFile, buffer: memoryview, tally: Tally) -> bytes | None:
        found.append(one.path)
        return whole(one, buffer, tally)

    monkeypatch.setattr(reading, "_read", read)
    return found


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "chat_template.jinja", "generation_config.json", "config.json"]
)
def test_a_change_of_any_file_changes_the_digest(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, model())
    before = digest(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-1] + b"~")
    assert digest(tmp_path) != before
    (tmp_path / name).write_bytes(data)
    assert digest(tmp_path) == before


def test_a_new_name_counts_and_times_modes_and_what_programs_leave_beside_do_not(tmp_path: Path) -> None:
    write_files(tmp_path, model())
    before = digest(tmp_path)
    os.utime(tmp_path / "config.json", (1, 1))
    (tmp_path / "config.json").chmod(0o600)
    write_files(
        tmp_path,
        {
            "__pycache__/model.cpython-311.pyc": b"x",
            ".cache/huggingface/download/config.json.metadata": b"x",
            ".git/index": b"x",
            "model.safetensors.incomplete": b"x",
            "x.lock": b"",
        },
    )
    assert digest(tmp_path) == before
    (tmp_path / "config.json").rename(tmp_path / "conf.json")
    assert digest(tmp_path) != before


def test_links_are_followed_so_that_a_cache_a_copy_and_hard_links_have_one_digest(tmp_path: Path) -> None:
    files = {**model(), "tokenizer/merges.txt": b"a b"}
    write_files(tmp_path / "plain", files)
    snapshot = cached(tmp_path / "hub", files)
    (tmp_path / "v2").symlink_to(snapshot)
    (tmp_path / "linked").mkdir()
    shutil.copytree(tmp_path / "plain", tmp_path / "hard", copy_function=os.link)
    for name in files:
        if "/" not in name:
            (tmp_path / "linked" / name).symlink_to(tmp_path / "plain" / name)
    (tmp_path / "linked" / "tokenizer").symlink_to(tmp_path / "plain" / "tokenizer")
    found = {digest(tmp_path / name) for name in ("plain", "v2", "hard", "linked")} | {digest(snapshot)}
    assert found == {digest(tmp_path / "plain")}


def test_a_single_file_is_a_version_too(tmp_path: Path) -> None:
    write_files(tmp_path, {"chat-v2.gguf": b"GGUF but not really"})
    content = read_content(tmp_path / "chat-v2.gguf")
    assert (content.files, content.bytes, content.facts["format"]) == (1, 19, "GGUF")
    assert content.digest == digest(tmp_path)


def test_a_link_to_nothing_is_an_unfinished_download(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, model())
    weights = snapshot / "model.safetensors"
    weights.resolve().unlink()
    with pytest.raises(SourceIncomplete) as refused:
        digest(snapshot)
    assert str(refused.value) == f"{weights} points to {weights.readlink()}, which is not there. Complete the download."


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"a.safetensors": b"1", "model.safetensors.index.json": b'{"weight_map": {"x": "b.safetensors"}}'}
    )
    with pytest.raises(SourceIncomplete, match=r"names 1 files that are missing: b.safetensors"):
        digest(tmp_path)


def test_what_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"/gone cannot be read: No such file or directory$"):
        digest(tmp_path / "gone")
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(BackupError, match=r"/round cannot be read: Too many levels of symbolic links$"):
        digest(tmp_path)
    (tmp_path / "round").unlink()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "up").symlink_to("..")
    with pytest.raises(BackupError, match=r"/inner/up cannot be read: it is a link to a folder that it is in$"):
        digest(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BackupError, match=r"/pipe cannot be read: it is neither a folder nor a file$"):
        digest(tmp_path / "pipe")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, model())
    (tmp_path / "config.json").chmod(0)
    with pytest.raises(BackupError, match=r"/config.json cannot be read: Permission denied$"):
        digest(tmp_path)


def test_a_pipe_among_the_files_is_no_part_of_the_version(tmp_path: Path) -> None:
    write_files(tmp_path, model())
    before = digest(tmp_path)
    os.mkfifo(tmp_path / "control")
    assert digest(tmp_path) == before


def test_a_copy_that_ends_during_the_reading_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, model(seed=1))
    whole = reading._hashed
    acts = [lambda: write_files(tmp_path, model(seed=2)), lambda: write_files(tmp_path, {"added.json": b"{}"})]

    def hashed(one: ContentFile, handle: int, buffer: memoryview, tally: Tally) -> bytes | None:
        found = whole(one, handle, buffer, tally)
        if one.path == "model.safetensors" and acts:
            acts.pop(0)()
        return found

    monkeypatch.setattr(reading, "_hashed", hashed)
    paused = Paused()
    tally = Tally()
    content = read_content(tmp_path, Reading(pause=paused), tally)
    monkeypatch.undo()
    assert paused.seconds == [PAUSE_S, PAUSE_S]
    assert content.digest == digest(tmp_path)
    assert (tally.done, tally.bytes, tally.files) == (content.bytes, content.bytes, 6)


def test_files_that_never_rest_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, model())
    whole, grown = reading._hashed, tmp_path / "model.safetensors"

    def hashed(one: ContentFile, handle: int, buffer: memoryview, tally: Tally) -> bytes | None:
        if one.path == grown.name:
            with grown.open("ab") as file:
                file.write(b"more")
        return whole(one, handle, buffer, tally)

    monkeypatch.setattr(reading, "_hashed", hashed)
    paused = Paused()
    with pytest.raises(SourceMoving) as refused:
        read_content(tmp_path, Reading(pause=paused))
    assert len(paused.seconds) == ROUNDS - 1
    assert str(refused.value) == (
        f"1 files of {tmp_path} changed each of the 4 times that they were read: model.safetensors. Try again when the"
        " copy has ended."
    )


def test_a_file_that_shrinks_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"a.bin": bytes(9 * MIB)})
    whole, acts = spans.read_span, [lambda: os.truncate(tmp_path / "a.bin", 5 * MIB)]

    def read_span(*arguments: object) -> memoryview:
        if acts:
            acts.pop()()
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "read_span", read_span)
    assert read_content(tmp_path, Reading(pause=Paused())).bytes == 5 * MIB


def test_a_file_that_is_deleted_during_the_look_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, model())
    whole = Path.iterdir

    def iterdir(folder: Path) -> object:
        found = list(whole(folder))
        (tmp_path / "config.json").unlink(missing_ok=True)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert [one.path for one in content_files(tmp_path)] == sorted(model().keys() - {"config.json"})


def test_an_unchanged_folder_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, memory = tmp_path / "models", tmp_path / "memory"
    write_files(root, model())
    options = Reading(memory=memory, now=later)
    first = read_content(root, options)
    found = read_files(monkeypatch)
    tally = Tally()
    assert read_content(root, options, tally) == first
    assert found == []
    assert tally.done == tally.bytes == first.bytes

    (root / "tokenizer.json").write_bytes(b"{}")
    changed = read_content(root, options)
    assert found == ["tokenizer.json"]
    assert changed.digest != first.digest
    assert digest(root) == changed.digest


def test_a_change_that_hides_behind_its_old_time_is_seen(tmp_path: Path) -> None:
    root, memory = tmp_path / "models", tmp_path / "memory"
    write_files(root, model())
    options = Reading(memory=memory, now=later)
    first, status = read_content(root, options), (root / "config.json").stat()
    data = (root / "config.json").read_bytes()
    (root / "config.json").write_bytes(data[:-1] + b" ")
    os.utime(root / "config.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_content(root, options).digest != first.digest


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, memory = tmp_path / "models", tmp_path / "memory"
    write_files(root, {"a.bin": b"1", "b.bin": b"2"})
    os.utime(root / "a.bin", (1, 1))  # its change time is of now all the same
    read_content(root, Reading(memory=memory))
    found = read_files(monkeypatch)
    read_content(root, Reading(memory=memory))
    assert found == ["a.bin", "b.bin"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 9, "root": "", "files": {}}', None]
)
def test_a_damaged_memory_only_costs_a_reading(tmp_path: Path, damage: bytes | None) -> None:
    root, memory = tmp_path / "models", tmp_path / "memory"
    write_files(root, model())
    options = Reading(memory=memory, now=later)
    first = read_content(root, options)
    (path,) = memory.iterdir()
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b'"files":{"', b'"files":{"x":["a"],"') if damage is None else damage)
    assert read_content(root, options) == first
    assert path.read_bytes() == kept


def test_a_memory_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    write_files(tmp_path, {"models/a.bin": b"1", "memory": b"a file and no folder"})
    assert read_content(tmp_path / "models", Reading(memory=tmp_path / "memory", now=later)).files == 1


def test_memories_that_nobody_uses_are_deleted(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    for name in ("a", "b"):
        write_files(tmp_path / name, {"x.bin": name.encode()})
        read_content(tmp_path / name, Reading(memory=memory, now=later))
    for path in memory.iterdir():
        os.utime(path, (1000, 1000))
    read_content(tmp_path / "b", Reading(memory=memory, now=later))
    marks.forget_unused(memory, time.time())
    assert [path.name for path in memory.iterdir()] == [marks.memory_name(tmp_path / "b")]
