"""Key files of people, and the repository's secrets wrapped for them."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from controlplane.backup.errors import Damaged, NewerFormat, WrongKey
from controlplane.backup.format.envelope import Sealing
from controlplane.backup.keys.keyfile import UserKey, new_key, read_key, write_key
from controlplane.backup.keys.ring import key_bytes, new_secrets, read_key_document, unwrap, wrap
from controlplane.backup.repository import Repository, open_secrets, read_header
from tests.unit.controlplane.backup.world import KEY, new_store

OTHER = UserKey(bytes(range(32, 64)))


def test_a_key_file_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    path, key = tmp_path / "key", new_key()
    write_key(path, key)
    assert read_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_key(path, new_key())
    assert read_key(path) == key


def test_a_key_is_not_shown_and_its_id_is(tmp_path: Path) -> None:
    assert repr(KEY) == "UserKey()"
    assert (len(KEY.id), KEY.id == OTHER.id) == (16, False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"llm-controlplane-backup-key-1:",
        b"llm-controlplane-backup-key-1:AAAA",
        b"llm-controlplane-backup-key-1:!!!",
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        b"llm-controlplane-backup-key-1:" + b"A" * 9000,
    ],
)
def test_a_file_that_is_no_key_file_is_named_without_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(WrongKey) as error:
        read_key(tmp_path / "key")
    assert str(tmp_path / "key") in str(error.value) and "AAAA" not in str(error.value)


@pytest.mark.parametrize(("name", "why"), [("nowhere", r"No such file .* copy its key"), (".", "Is a directory")])
def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(WrongKey, match=f"cannot be read: {why}"):
        read_key(tmp_path / name)


def test_only_its_key_unwraps_a_document() -> None:
    secrets = new_secrets()
    document = wrap(secrets, KEY, name="alice", now=5.0)
    assert read_key_document("keys/x", key_bytes(document)) == document
    assert unwrap(document, KEY, Sealing.AES_256_GCM) == secrets
    with pytest.raises(WrongKey, match=f"key {OTHER.id} does not open"):
        unwrap(document, OTHER, Sealing.AES_256_GCM)
    assert secrets.chunk_secret.hex() not in key_bytes(document).hex()


def test_a_second_key_opens_the_repository_until_its_object_is_deleted() -> None:
    store = new_store()
    header = read_header(store)
    secrets = open_secrets(store, header, [KEY])
    store.put(f"keys/{OTHER.id}", key_bytes(wrap(secrets, OTHER, name="bob", now=7.0)))
    assert open_secrets(store, header, [OTHER]) == secrets
    store.delete(f"keys/{OTHER.id}")
    with pytest.raises(WrongKey, match=f"knows the keys {KEY.id}, and the key files hold {OTHER.id}"):
        Repository.open(store, [OTHER])


GOOD = orjson.loads(key_bytes(wrap(new_secrets(), KEY, name="alice", now=5.0)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"format": 2}, NewerFormat),
        ({"wrapped": []}, Damaged),
        ({"wrapped": GOOD["wrapped"][:1]}, Damaged),
        ({"wrapped": ["!"]}, Damaged),
        ({"wrapped": 5}, Damaged),
        ({"made_at": "x"}, Damaged),
    ],
    ids=["format", "nothing", "no data key", "no base64", "no list", "no time"],
)
def test_a_damaged_key_object_is_named(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match="keys/7"):
        read_key_document("keys/7", orjson.dumps({**GOOD, **change}))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_bytes_that_are_no_key_object_are_damaged(data: bytes) -> None:
    with pytest.raises(Damaged, match="keys/7 is damaged"):
        read_key_document("keys/7", data)


def test_a_wrapped_secret_with_another_bit_opens_nothing() -> None:
    document = wrap(new_secrets(), KEY, name="alice", now=5.0)
    changed = bytearray(document.wrapped[0])
    changed[3] ^= 1
    with pytest.raises(WrongKey):
        unwrap(type(document)(KEY.id, "alice", 5.0, (bytes(changed), *document.wrapped[1:])), KEY, Sealing.PLAIN)
