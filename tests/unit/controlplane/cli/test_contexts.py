"""Contexts and login: what is kept, what is shown, and what a token never does."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.main import run
from controlplane.config.context import Context, Contexts, read_contexts, write_contexts

PROD, TEST = Context("https://prod.example", "cp_prod"), Context("http://127.0.0.1:1", "cp_test")


@pytest.fixture
def two(home: Path) -> Path:
    write_contexts(home, Contexts("prod", {"prod": PROD, "test": TEST}))
    return home


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_listing_marks_the_current_one_and_shows_no_token(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "get-contexts"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "   NAME  URL                   TOKEN",
        "*  prod  https://prod.example  yes",
        "   test  http://127.0.0.1:1    yes",
    ]
    for output in ("json", "yaml"):
        assert run(["config", "get-contexts", "-o", output]) == 0
        shown = capsys.readouterr().out
        assert "cp_" not in shown
    assert run(["config", "get-contexts", "-o", "json"]) == 0
    assert [(c["name"], c["current"]) for c in json.loads(capsys.readouterr().out)] == [("prod", True), ("test", False)]


def test_one_of_a_demo_that_has_ended_is_told(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_contexts(home, Contexts("", {"demo": Context("http://a", "t", str(tmp_path / "gone.json"))}))
    assert run(["config", "get-contexts"]) == 0
    assert "the demo has ended" in capsys.readouterr().out


def test_another_one_is_made_current(
    two: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "use-context", "test"]) == 0
    assert capsys.readouterr() == ("context test is current: http://127.0.0.1:1\n", "")
    assert read_contexts(two) == Contexts("test", {"prod": PROD, "test": TEST})
    monkeypatch.setenv("CP_CONTEXT", "prod")
    assert run(["config", "use-context", "test"]) == 0
    assert capsys.readouterr().err == "in this shell CP_CONTEXT overrides it: prod\n"
    assert run(["config", "current-context"]) == 0
    assert capsys.readouterr().out == "prod\n"


def test_no_current_context_is_1_and_an_unknown_one_is_2(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "use-context", "tset"]) == 2
    assert "there is no context 'tset'; did you mean test?\n  known contexts: prod, test" in capsys.readouterr().err
    assert run(["config", "delete-context", "prod"]) == 0
    assert capsys.readouterr().out == "context prod is deleted; no context is current now\n"
    assert run(["config", "current-context"]) == 1
    assert run(["config", "delete-context", "test"]) == 0
    assert not two.exists()


def test_a_context_is_added_and_the_first_one_is_current(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "set-context", "a", "--url", "https://a.example"]) == 0
    assert capsys.readouterr().out == "context a: https://a.example, no token; current\n"
    assert run(["config", "set-context", "b", "--url", "https://b.example"]) == 0
    assert "not current: `controlplane config use-context b`" in capsys.readouterr().out
    assert read_contexts(home).current == "a"
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("url", "kept"),
    [("https://prod.example/llm", True), ("https://prod.example:444", False), ("http://prod.example", False)],
)
def test_a_token_stays_with_its_own_scheme_host_and_port(
    two: Path, url: str, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "set-context", "prod", "--url", url]) == 0
    assert read_contexts(two).contexts["prod"].token == ("cp_prod" if kept else "")
    assert ("the token of https://prod.example is removed" in capsys.readouterr().err) is not kept


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["config", "set-context", "a", "--url", "nonsense"], "is not an address"),
        (["config", "set-context", "", "--url", "http://a"], "is not a name for a context"),
        (["config", "set-context", "a\nb", "--url", "http://a"], "is not a name for a context"),
        (["config", "set-context", "a"], "--url is missing"),
        (["config", "set-context", "a", "--url", "http://a", "--token-file", "/nowhere"], "No such file or directory"),
        (["config", "set-context", "a", "--url", "http://a", "--token-file", "/dev/null"], "holds no token"),
        (["config", "set-context", "a", "--url", "http://a", "--token-file", "/dev/zero"], "no token"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_kept(
    home: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert message in capsys.readouterr().err
    assert not home.exists()


def test_a_file_of_before_is_read_and_a_broken_one_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.parent.mkdir(parents=True)
    home.write_text('current = "prod"\n\n[contexts."prod"]\nurl = "https://llm.example.com"\ntoken = "cp_x"\n')
    assert run(["config", "current-context"]) == 0
    assert capsys.readouterr().out == "prod\n"
    home.write_text("contexts = 5\n")
    assert run(["config", "get-contexts"]) == 2
    assert "config.toml: contexts: expected tables" in capsys.readouterr().err


# --- login


def accepting(plane: Any) -> None:
    plane.replies["GET /cp/v1/whoami"] = lambda request: (
        (200, {"name": "ci", "role": "operator", "token_id": "1"})
        if request.headers["authorization"] == "Bearer cp_1_good"
        else (401, {"detail": "unknown token"})
    )


def test_a_token_is_tried_and_kept_and_its_context_is_current(
    plane: Any, two: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accepting(plane)
    give(monkeypatch, "cp_1_good\n")
    assert run(["login", "--url", plane.url]) == 0
    out, err = capsys.readouterr()
    assert out == f"context prod-eu is current: fleet prod-eu at {plane.url}, as ci with role operator\n"
    assert "cp_1_good" not in out + err
    assert read_contexts(two) == Contexts(
        "prod-eu", {"prod": PROD, "test": TEST, "prod-eu": Context(plane.url, "cp_1_good")}
    )


def test_a_token_that_is_not_accepted_is_not_kept(
    plane: Any, two: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accepting(plane)
    before = two.read_bytes()
    give(monkeypatch, "cp_1_bad\n")
    assert run(["login", "--url", plane.url]) == 1
    assert "does not accept this token: unknown token" in capsys.readouterr().err
    assert two.read_bytes() == before


def test_the_context_that_has_the_address_gets_the_new_token(
    current: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepting(current)
    give(monkeypatch, "cp_1_good")
    assert run(["login"]) == 0
    assert read_contexts(home) == Contexts("prod", {"prod": Context(current.url, "cp_1_good")})


def test_another_fleets_context_is_not_overwritten(
    plane: Any, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accepting(plane)
    taken = Contexts("", {"prod-eu": Context("https://other.example", "cp_other")})
    write_contexts(home, taken)
    give(monkeypatch, "cp_1_good")
    assert run(["login", "--url", plane.url]) == 2
    assert "context prod-eu has another address, https://other.example: choose another name with --name" in (
        capsys.readouterr().err
    )
    assert read_contexts(home) == taken
    give(monkeypatch, "cp_1_good")
    assert run(["login", "--url", plane.url, "--name", "mine"]) == 0
    assert read_contexts(home).current == "mine"


@pytest.mark.parametrize("text", ["", "\n", "two words\n", "x" * 600])
def test_what_is_no_token_is_refused_unsent_and_unshown(
    plane: Any, home: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, text)
    assert run(["login", "--url", plane.url]) == 2
    err = capsys.readouterr().err
    assert "token" in err and "two words" not in err and "xxx" not in err
    assert plane.requests == [] and not home.exists()


def test_a_token_that_would_be_sent_unencrypted_is_warned_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "set-context", "a", "--url", "http://llm.example.com"]) == 0
    assert capsys.readouterr().err == "http://llm.example.com is not https: the token is sent unencrypted\n"
    for url in ("http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "https://llm.example.com"):
        assert run(["config", "set-context", "a", "--url", url]) == 0
        assert "unencrypted" not in capsys.readouterr().err
    assert run(["config", "set-context", "a", "--url", "http://localhost.evil.example"]) == 0
    assert "unencrypted" in capsys.readouterr().err


def test_a_login_refuses_what_is_no_address_before_it_asks_for_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("controlplane.cli.contexts._ask_token", lambda _: pytest.fail("a token was asked for"))
    assert run(["login", "--url", "127.0.0.1:8080"]) == 2
    assert "'127.0.0.1:8080' is not an address of a control plane" in capsys.readouterr().err
