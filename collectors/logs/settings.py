"""The settings of one log."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.samples import Labels

ENGINES = ("any", "vllm", "sglang", "triton", "trtllm", "ollama", "llamacpp", "tgi")
"""The engines of patterns.yaml."""
RESERVED = ("engine", "event", "instance", "job", "le", "line", "log", "log_engine", "quantile", "source")
"""Labels that events have, or that the control plane gives to every series."""


@dataclass(frozen=True)
class PodLog:
    """The log of a container in Kubernetes."""

    namespace: str
    name: str
    """A pod, or a workload of which kubectl chooses a pod: `vllm-0`, `deploy/sglang`."""
    container: str = ""
    """"" for the pod's only one, or the one that its annotation names."""


@dataclass(frozen=True)
class LogSettings:
    """One log: where it is, and whose it is.

    Exactly one of `files`, `journald`, `docker`, `kubernetes` and `command` is given.
    """

    name: str
    """Label `log`. Unique within an exporter."""
    engine: str
    """Engine whose patterns hold: a key of `LogCatalogue.engines`."""
    files: tuple[str, ...] = ()
    """Absolute paths, or globs of them."""
    journald: str = ""
    """A unit of systemd, or `kernel`."""
    docker: str = ""
    """A container's name or id."""
    kubernetes: PodLog | None = None
    command: tuple[str, ...] = ()
    """A program and its arguments, whose output is the log."""
    evidence: bool = True
    """Whether the first line of a fault, masked, is a label of `llm_log_line_info`."""
    labels: Labels = ()
    """Labels of its events, beside event, log and log_engine."""
