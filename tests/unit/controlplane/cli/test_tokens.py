"""`token create --data-dir`: the way back in for the owner of the files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from controlplane.access import Role, TokenStore
from controlplane.cli.main import run
from controlplane.store.database import Database
from tests.fakes.migrated import write_migrated


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write_migrated(tmp_path / "controlplane.db")
    return tmp_path


def test_a_token_is_made_without_a_token(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["token", "create", "--name", "back-in", "--role", "admin", "--expires-in", "1h"]
    assert run([*arguments, "--data-dir", str(data_dir)]) == 0
    text = capsys.readouterr().out.strip()
    db = Database(f"sqlite:///{data_dir / 'controlplane.db'}")
    try:
        principal = TokenStore(db).authenticate(text, time.time())
        (made,) = TokenStore(db).list()
    finally:
        db.close()
    assert (principal.name, principal.role) == ("back-in", Role.ADMIN)
    assert made.created_by == "the owner of the files"
    assert made.expires_at == pytest.approx(made.created_at + 3600)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--role", "king"], "--role king: expected one of viewer, operator, admin"),
        (["--expires-in", "soon"], "--expires-in: expected a duration"),
    ],
)
def test_bad_options_are_named(
    data_dir: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "--name", "x", "--data-dir", str(data_dir), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_a_database_is_refused_and_stays_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "--name", "x", "--data-dir", str(tmp_path)]) == 2
    assert "is that the data folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
