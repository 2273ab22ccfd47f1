"""What `silences` says about a command line that it cannot use. Nothing is asked of the control plane then."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.main import run

ADD = ("silences", "add", "model=chat")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*ADD, "--for", "2h"), "--comment is missing: the reason, such as 'new driver'"),
        ((*ADD, "--comment", "c"), "the silence needs an end: give --for, such as 2h, or --until, such as 2026-12-05T"),
        (
            (*ADD, "--comment", "c", "--for", "2h", "--until", "2026-12-05T06:00:00Z"),
            "--for and --until both name the end of the silence; leave one out",
        ),
        (("silences", "expire", "3f2"), "3f2 is too short for the id of a silence; give its first 4 characters"),
    ],
)
def test_what_is_missing_or_too_much_is_told_with_the_cure(
    current: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert run(list(words)) == 2
    assert said in capsys.readouterr().err


def test_an_id_that_nothing_begins_with(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/silences"] = (200, {"items": [{"id": "3f2a9c10-0000-4000-8000-000000000000"}]})
    assert run(["silences", "show", "3f2b"]) == 2
    assert "no silence has an id that begins with 3f2b" in capsys.readouterr().err
