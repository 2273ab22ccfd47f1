"""The first admin token: from the environment, or in a file of the data folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from controlplane.access import Role, TokenStore, bootstrap
from controlplane.errors import ConfigError, Unauthenticated
from controlplane.store.database import Database

GIVEN = "cp_0123abcd_" + "s" * 43


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenStore]:
    db = Database(f"sqlite:///{tmp_path}/x.db")
    SQLModel.metadata.create_all(db.engine)
    yield TokenStore(db)
    db.close()


def test_without_one_given_a_token_is_left_in_a_private_file(
    tokens: TokenStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    path = bootstrap(tokens, tmp_path, None, now=0.0)

    assert path == tmp_path / "admin-token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert tokens.authenticate(path.read_text().strip(), 1.0).role is Role.ADMIN
    assert str(path) in caplog.text
    assert path.read_text().strip() not in caplog.text
    assert [p.name for p in tmp_path.glob(".admin*")] == []


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_a_variable_that_is_set_to_nothing_is_not_set(tokens: TokenStore, tmp_path: Path, blank: str) -> None:
    assert bootstrap(tokens, tmp_path, blank, now=0.0) == tmp_path / "admin-token"
    assert bootstrap(tokens, tmp_path, blank, now=1.0) is None


@pytest.mark.parametrize("given", [GIVEN, f"{GIVEN}\n"])
def test_the_given_token_is_taken_and_no_file_written(tokens: TokenStore, tmp_path: Path, given: str) -> None:
    assert bootstrap(tokens, tmp_path, given, now=0.0) is None
    assert tokens.authenticate(GIVEN, 1.0).role is Role.ADMIN
    assert not (tmp_path / "admin-token").exists()


def test_later_starts_change_nothing(tokens: TokenStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bootstrap(tokens, tmp_path, GIVEN, now=0.0)
    tokens.create("ann", Role.ADMIN, None, now=1.0)
    tokens.revoke("0123abcd", now=2.0)

    assert bootstrap(tokens, tmp_path, GIVEN, now=3.0) is None
    assert bootstrap(tokens, tmp_path, None, now=3.0) is None
    assert caplog.text == ""
    with pytest.raises(Unauthenticated, match="revoked"):
        tokens.authenticate(GIVEN, 4.0)

    other = GIVEN.replace("0123abcd", "ffffffff")
    assert bootstrap(tokens, tmp_path, other, now=5.0) is None
    assert "CP_BOOTSTRAP_TOKEN is ignored" in caplog.text
    with pytest.raises(Unauthenticated, match="not known"):
        tokens.authenticate(other, 6.0)


@pytest.mark.parametrize("bad", ["hunter2", "cp_0123abcd_short", "cp_XYZ_" + "s" * 43])
def test_a_malformed_given_token_says_the_format_and_not_itself(tokens: TokenStore, tmp_path: Path, bad: str) -> None:
    with pytest.raises(ConfigError, match="CP_BOOTSTRAP_TOKEN: expected cp_<id>_<secret>") as raised:
        bootstrap(tokens, tmp_path, bad, now=0.0)
    assert bad not in str(raised.value)
    assert tokens.list() == []


def test_a_crash_between_file_and_database_is_made_good(tokens: TokenStore, tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text(GIVEN + "\n")
    (tmp_path / "admin-token").chmod(0o644)

    bootstrap(tokens, tmp_path, None, now=0.0)

    assert tokens.authenticate(GIVEN, 1.0).role is Role.ADMIN
    assert (tmp_path / "admin-token").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_a_token_is_named_with_the_cure(tokens: TokenStore, tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text("what?")

    with pytest.raises(ConfigError, match=r"admin-token \(delete it, and a new token is made\)"):
        bootstrap(tokens, tmp_path, None, now=0.0)


def test_a_folder_that_cannot_be_written_is_named(tokens: TokenStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere/admin-token: cannot write the admin token"):
        bootstrap(tokens, tmp_path / "nowhere", None, now=0.0)
