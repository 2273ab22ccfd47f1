"""Orders to several instances of a proxy: the faults of some do not stop the others."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused


def raise_worst(results: Sequence[object]) -> None:
    """Raise the errors among the results as one. A refusal counts before a lost reply.

    Raises EngineRefused, Unavailable, or the first error of another kind.
    """
    errors = [error for error in results if isinstance(error, BaseException)]
    for error in errors:
        if not isinstance(error, EngineRefused | Unavailable):
            raise error
    for kind in (EngineRefused, Unavailable):
        of_kind = [error for error in errors if isinstance(error, kind)]
        if of_kind:
            raise kind("; ".join(map(str, errors))) from of_kind[0]
