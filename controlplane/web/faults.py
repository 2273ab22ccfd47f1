"""Faults of a form that the API's models refused, as sentences that name its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from controlplane.errors import ControlPlaneError


def faults_of(error: ValidationError | ControlPlaneError, labels: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return a sentence for each fault. `labels` name fields; others are named as the API names them."""
    if isinstance(error, ControlPlaneError):
        return (str(error),)
    return tuple(f"{_field(fault['loc'], labels or {})}: {_words(fault)}" for fault in error.errors())


def _field(place: tuple[int | str, ...], labels: Mapping[str, str]) -> str:
    names = [name for name in place if isinstance(name, str) and name != "limits"]
    return labels.get(names[-1], names[-1].replace("_", " ")) if names else "form"


def _words(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "string_too_short":
        return "it is needed"
    words = str(fault["msg"]).removeprefix("Value error, ")
    return words[:1].lower() + words[1:]
