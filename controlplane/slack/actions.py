"""The actions of buttons, and the people who may use them. A new kind of button adds its actions to the registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from controlplane.access.roles import Role

VIA = "via slack"
"""Reason of an act by a click. It is in the history of the thing and in the audit trail."""


class Person(NamedTuple):
    """The identity of a person in Slack. `name` is that of the person's token, so that both are one person."""

    name: str
    role: Role


class Action(NamedTuple):
    """The effect of a button."""

    name: str
    """`noun.verb`: the action of the buttons in messages."""
    role: Role
    """The least role that may use it."""
    run: Callable[[Person, str], Awaitable[str]]
    """Acts by a button's value; returns lines of plain text for the person. Raises ControlPlaneError.

    It may be called twice for one click, in two processes: a repeated act must change nothing.
    """


class Actions:
    """The registry of actions by name."""

    def __init__(self, actions: Iterable[Action] = ()) -> None:
        self._actions: dict[str, Action] = {}
        self.add(actions)

    def add(self, actions: Iterable[Action]) -> None:
        """Add actions. Raises ValueError for a name that is taken."""
        for action in actions:
            if action.name in self._actions:
                raise ValueError(f"two actions have the name {action.name}")
            self._actions[action.name] = action

    def get(self, name: str) -> Action | None:
        """Return the action of this name, or None."""
        return self._actions.get(name)
