"""Types of fields that name an engine or an API. The table of engines is the only source of the choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from collectors.engines.kinds import BACKENDS, ENGINES, Api

if TYPE_CHECKING:
    EngineName: TypeAlias = str
    BackendEngine: TypeAlias = str
    ApiName: TypeAlias = str
else:
    EngineName, BackendEngine = Literal[tuple(ENGINES)], Literal[tuple(BACKENDS)]
    ApiName = Literal[tuple(map(str, Api))]
