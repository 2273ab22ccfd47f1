"""A version of a Triton model that cannot start."""

from __future__ import annotations

from pathlib import Path

from controlplane.demo.repository import MODEL

_FAILING = '''\
"""A version that cannot start: what a broken release looks like to Triton."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        raise pb_utils.TritonModelException({reason!r})
'''


def write_failing_version(repository: Path, version: int, *, model: str = MODEL, reason: str = "out of memory") -> None:
    """Add a version whose `initialize` fails with `reason`."""
    target = repository / model / str(version)
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.py").write_text(_FAILING.format(reason=reason))
