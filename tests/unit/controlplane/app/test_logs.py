"""The log: whatever is put into it, each record is one line or one object, and nobody can write lines of their own."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.app.logs import (
    CHATTY,
    INDENT,
    MAX_FIELD,
    JsonFormatter,
    LogFormat,
    LogLevel,
    TextFormatter,
    set_up_log,
)
from tests.patience import PROCESS_S

RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: ")
FORGED = "x\n2026-01-01 00:00:00.000Z INFO controlplane.access: admin signed in\x1b[2K\u202e"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Set up the log on a stream, and leave the process's logging as it was."""
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook, sys.unraisablehook)
    handlers, level = root.handlers[:], root.level
    chatty = {name: logging.getLogger(name).level for name in CHATTY}
    root.handlers = []
    stream = io.StringIO()
    yield stream
    logging.captureWarnings(False)
    root.handlers = handlers
    for name, before in (("root", level), *chatty.items()):
        logging.getLogger(name if name != "root" else None).setLevel(before)  # forgets what loggers remember of levels
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def raised(error: Exception) -> Exception:
    try:
        raise error
    except (ValueError, OSError) as caught:
        return caught


def record(message: str, *args: object, error: BaseException | None = None, **fields: object) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("controlplane.test", logging.INFO, "f.py", 1, message, args, info)
    made.__dict__.update(fields)
    return made


def test_a_record_of_text_is_one_line(log: io.StringIO) -> None:
    set_up_log(stream=log)
    logging.getLogger("controlplane.test").info("target %s is up", FORGED)
    (line,) = log.getvalue().splitlines()
    assert RECORD.match(line)
    assert line.endswith(
        r"target x\n2026-01-01 00:00:00.000Z INFO controlplane.access: admin signed in\x1b[2K\u202e is up"
    )


@given(text=st.text(), name=st.text(), cause=st.text())
def test_no_text_anywhere_in_a_record_begins_a_record(text: str, name: str, cause: str) -> None:
    try:
        raise ValueError(text) from raised(OSError(cause))
    except ValueError as error:
        made = record("%s", text, error=error)
    made.name, made.stack_info = name, f"Stack:\n{text}"
    first, *rest = TextFormatter().format(made).split("\n")
    assert first.isprintable()
    assert len(rest) >= 3
    assert all(line.startswith(INDENT) and line.isprintable() for line in rest)


ANY = st.text() | st.floats() | st.binary() | st.lists(st.text()) | st.dictionaries(st.text(), st.none())


@given(text=st.text(), value=ANY)
def test_a_record_of_json_is_one_object_in_ascii(text: str, value: object) -> None:
    line = JsonFormatter().format(record("said: %s", text, error=raised(ValueError(text)), given=value))
    assert line.isascii()
    assert line.isprintable()
    told = json.loads(line, parse_constant=pytest.fail)
    assert (told["level"], told["logger"]) == ("info", "controlplane.test")
    assert told["message"] == f"said: {text}"
    assert list(told["fields"]) == ["given"]
    assert text in told["traceback"]


def test_the_time_of_json_is_rfc_3339_in_utc() -> None:
    made = record("x")
    made.created = 1_767_225_600.25
    told = json.loads(JsonFormatter().format(made))
    assert told == {"time": "2026-01-01T00:00:00.250Z", "level": "info", "logger": "controlplane.test", "message": "x"}


def test_a_notification_has_its_parts_as_fields() -> None:
    fields: dict[str, Any] = {"group": {"model": "m"}, "firing": ("a", "b"), "repeat": False}
    fields |= {"why": ValueError("x"), "since": object}
    told = json.loads(JsonFormatter().format(record("FIRING", **fields)))["fields"]
    assert told == {
        "group": {"model": "m"},
        "firing": ["a", "b"],
        "repeat": False,
        "why": "ValueError: x",
        "since": "<class 'object'>",
    }


def test_a_text_without_end_is_cut() -> None:
    made = record("%s", "x" * 10 * MAX_FIELD, field="y" * 10 * MAX_FIELD)
    assert len(TextFormatter().format(made)) < MAX_FIELD + 100
    assert len(JsonFormatter().format(made)) < 2 * MAX_FIELD + 500


def test_levels_and_what_libraries_say(log: io.StringIO) -> None:
    set_up_log(level=LogLevel.WARNING, stream=log)
    logging.getLogger("controlplane.test").info("no news")
    logging.getLogger("alembic.runtime").warning("late")
    assert [line.partition("WARNING ")[2] for line in log.getvalue().splitlines()] == ["alembic.runtime: late"]
    set_up_log(level=LogLevel.DEBUG, stream=log)
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("controlplane.test").debug("detail")
    assert log.getvalue().count("\n") == 2
    assert "DEBUG controlplane.test: detail" in log.getvalue()


def test_what_python_writes_by_itself_is_in_the_log_too(log: io.StringIO) -> None:
    set_up_log(LogFormat.JSON, stream=log)

    def fails() -> None:
        raise RuntimeError(FORGED)

    thread = threading.Thread(target=fails, name="worker\n1")
    thread.start()
    thread.join()
    warnings.simplefilter("always")
    warnings.warn(FORGED, stacklevel=1)
    logging.getLogger("controlplane.test").info("%d", "no number")
    sys.excepthook(RuntimeError, RuntimeError(FORGED), None)
    told = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["level"] for line in told] == ["error", "warning", "error", "critical"]
    assert told[0]["message"] == "internal error: worker\n1 ends"
    assert FORGED in told[1]["message"]
    assert "test_logs.py" in told[2]["message"]
    assert told[2]["message"].endswith("cannot be rendered: TypeError")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_running_control_plane_logs_as_it_was_told(tmp_path: Path, form: str) -> None:
    """Every line of the process's stderr, from its first to its last, with a hostile name in its configuration."""
    forged = tmp_path / "x\n2026-01-01 00:00:00.000Z INFO forged: line.json"
    forged.write_text("{")
    (tmp_path / "fleet.yaml").write_text(
        "fleet: {name: a}\ntargets: [{engine: vllm, file_sd: ['x*.json']}]\nrules: []\n"
    )
    command = [sys.executable, "-m", "controlplane", "up", "-c", f"{tmp_path}/fleet.yaml", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--data-dir", tmp_path / "data", "--log-format", form, "--log-level", "info"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline()]
        while "listening on" not in lines[-1]:
            assert lines[-1], lines
            lines.append(process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        lines += process.stderr.read().splitlines(keepends=True)
    finally:
        process.kill()
        out, _ = process.communicate(timeout=PROCESS_S)
    assert out == ""
    assert any("forged: line.json" in line for line in lines)
    for line in lines:
        if form == "json":
            assert set(json.loads(line)) >= {"time", "level", "logger", "message"}
        else:
            assert RECORD.match(line), line
            assert not line.startswith("2026-01-01 00:00:00,000")
