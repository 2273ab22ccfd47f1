"""`controlplane log-exporter`: what it refuses, and what --check prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.cli.main import run


@pytest.mark.parametrize("words", [[], ["-c", "logs.yaml", "--engine", "vllm"]])
def test_a_file_or_options_describe_the_logs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["log-exporter", *words]) == 2
    assert "expected either -c logs.yaml, or --engine with one of" in capsys.readouterr().err


def test_check_prints_the_logs_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs.yaml").write_text("logs: [{engine: vllm, files: [a.log]}, {engine: any, journald: kernel}]")
    assert run(["log-exporter", "-c", str(tmp_path / "logs.yaml"), "--check"]) == 0
    assert capsys.readouterr().out == "a.log: vllm\nkernel: any\n"


def test_a_fault_in_the_file_is_a_sentence_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs.yaml").write_text("logs: [{engine: vllm}]")
    assert run(["log-exporter", "-c", str(tmp_path / "logs.yaml")]) == 2
    assert "logs.yaml:1: logs[0]: needs one of files:" in capsys.readouterr().err


def test_an_address_that_is_none_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["log-exporter", "--engine", "any", "--file", "/nowhere/a.log", "--listen", "9402"]) == 1
    assert "cannot listen on '9402': expected host:port" in capsys.readouterr().err


def test_a_spool_that_cannot_be_used_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    text = 'logs: [{engine: any, journald: kernel}]\nship: [{to: loki, url: "http://a", spool: file/x}]\n'
    (tmp_path / "logs.yaml").write_text(text)
    assert run(["log-exporter", "-c", str(tmp_path / "logs.yaml"), "--listen", "127.0.0.1:0"]) == 1
    assert capsys.readouterr().err == f"controlplane: the spool {tmp_path}/file/x cannot be used: Not a directory\n"


def test_check_prints_the_destinations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = 'logs: [{engine: any, journald: kernel}]\nship: [{to: loki, url: "http://a", lines: all}]\n'
    (tmp_path / "logs.yaml").write_text(text)
    assert run(["log-exporter", "-c", str(tmp_path / "logs.yaml"), "--check"]) == 0
    assert capsys.readouterr().out == "kernel: any\nloki: all lines to loki\n"
