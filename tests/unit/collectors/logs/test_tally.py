"""The first line of a fault, as evidence: which one it is, how long it is shown, and what it never shows."""

from __future__ import annotations

import pytest

from collectors.logs.patterns import LogCatalogue, load_patterns
from collectors.logs.settings import LogSettings
from collectors.logs.tally import FIRST_CHARS, FIRST_S, QUIET_S, Shown, Tally

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {} MiB."


@pytest.fixture(scope="module")
def known() -> LogCatalogue:
    return load_patterns()


class Bench:
    """The counts of one log, on a clock that the test sets."""

    def __init__(self, known: LogCatalogue, *, evidence: bool = True) -> None:
        self.now = 1_000_000.0
        settings = LogSettings("chat", "vllm", files=("/x",), evidence=evidence, labels=(("model", "chat"),))
        self.tally = Tally(settings, known, Shown(), lambda: self.now, lambda: self.now)

    def line(self, text: str, after_s: float = 0.0) -> None:
        self.now += after_s
        self.tally.line("/x", text)

    def lines(self) -> list[str]:
        """Return the lines that are shown now, each after its event."""
        found = [(labels, value) for name, labels, value in self.tally.samples() if name == "llm_log_line_info"]
        assert all(value == 1.0 and labels["model"] == "chat" for labels, value in found)
        return [f"{labels['event']}: {labels['line']}" for labels, _ in found]


def test_the_first_line_of_a_fault_stays_until_the_event_has_been_quiet(known: LogCatalogue) -> None:
    bench = Bench(known)
    assert bench.lines() == []
    bench.line("INFO all is well")
    assert bench.lines() == []
    bench.line(OOM.format(1))
    bench.line(OOM.format(2), after_s=QUIET_S)
    bench.line(OOM.format(3), after_s=QUIET_S)
    assert bench.lines() == [f"cuda_out_of_memory: {OOM.format(1)}"]
    bench.line(OOM.format(4), after_s=QUIET_S + 1)
    assert bench.lines() == [f"cuda_out_of_memory: {OOM.format(4)}"]
    bench.now += FIRST_S
    assert bench.lines() == [f"cuda_out_of_memory: {OOM.format(4)}"]
    bench.now += 1
    assert bench.lines() == []


def test_a_clock_that_is_set_back_begins_a_new_fault(known: LogCatalogue) -> None:
    bench = Bench(known)
    bench.line(OOM.format(1))
    bench.line(OOM.format(2), after_s=-86_400)
    assert bench.lines() == [f"cuda_out_of_memory: {OOM.format(2)}"]


def test_a_line_is_masked_and_cut(known: LogCatalogue) -> None:
    bench = Bench(known)
    bench.line(f"{OOM.format(1)} api_key=sk-abcdefghijklmnopqrstuvwx\x1b[0m {'x' * 500}")
    (shown,) = bench.lines()
    line = shown.partition(": ")[2]
    assert len(line) == FIRST_CHARS + 1 and line.endswith("…")
    assert "sk-" not in line and "\x1b" not in line


def test_evidence_can_be_turned_off(known: LogCatalogue) -> None:
    bench = Bench(known, evidence=False)
    bench.line(OOM.format(1))
    assert bench.lines() == []
