"""The verb `driver test`. It needs no control plane. It imports its modules only when it runs."""

from __future__ import annotations

import sys
from pathlib import Path

from controlplane.cli.errors import VerdictNegative
from controlplane.cli.render import say


def driver_test(model: str, config: Path, version: str | None, share: float, yes: bool) -> None:
    """Test a model's driver against its own backend. Raises VerdictNegative when a step fails."""
    from controlplane.app.check import accepted

    loaded, _ = accepted(config)
    from controlplane.app.driver_test import Wishes, run, section_of
    from controlplane.traffic.conformance import StepResult

    def tell(found: StepResult) -> None:
        mark = "left out" if found.ok is None else "good" if found.ok else "FAILED"
        say(f"{mark:<9} {found.step}: {found.words}")

    def may_change(question: str) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            say("no terminal to ask: add --yes to set a share")
            return False
        say(f"{question} No rollout of the model may run meanwhile. [y/N]")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    if not run(section_of(loaded, model), Wishes(version, share / 100, may_change), tell):
        raise VerdictNegative(f"the driver of {model} does not work with its backend as it is set up")
