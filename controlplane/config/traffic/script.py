"""`driver: exec` in fleet.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.traffic.base import Traffic, VersionSection, without_backends
from controlplane.config.vocabulary import Interval, Text


def _program(value: tuple[str, ...]) -> tuple[str, ...]:
    if not Path(value[0]).is_absolute():
        raise ValueError(f"expected an absolute path of a program first, such as /opt/switch.py, got {value[0]!r}")
    return value


class ScriptTraffic(Traffic):
    """Versions that a program of the operator moves, with the verbs of a driver as JSON."""

    moves = None
    driver: Literal["exec"]
    command: Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_program)]
    """The program and its arguments. No shell reads them."""
    timeout: Interval = 30.0
    """Deadline of observe, prepare and commit. A place has `load_timeout`."""
    environment: tuple[Text, ...] = ()
    """Names of the environment variables that the program gets, beside PATH. Nothing else of this process's."""
    weights: bool = False
    """Whether the program can split requests by weight."""

    @check
    def _has_no_shared_servers(self) -> Iterator[Fault]:
        if self.backends:
            yield Fault(("backends",), "the program moves requests between servers of versions; put them there")

    def version_faults(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield a fault for each version without servers."""
        yield from without_backends(versions, "driver exec asks the servers of a version whether they are ready")
