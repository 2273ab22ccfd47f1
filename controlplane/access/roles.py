"""Roles, and the check that every route makes."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from controlplane.errors import Forbidden


class Role(StrEnum):
    """What a token may do; each role includes those before it. Compare with `includes`: as text they sort wrongly."""

    VIEWER = "viewer"
    """Read everything."""
    OPERATOR = "operator"
    """Promote, roll back, abort."""
    ADMIN = "admin"
    """Tokens and configuration."""

    def includes(self, needed: Role) -> bool:
        """Tell whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Principal(NamedTuple):
    """Who makes a request."""

    name: str
    role: Role
    token_id: str
    session: str = ""
    """The digest of the console session that it came with; "" for a token of its own."""


def require(principal: Principal, role: Role) -> None:
    """Raise Forbidden unless the principal's role includes `role`."""
    if not principal.role.includes(role):
        raise Forbidden(
            f"this needs role {role}, and token {principal.name} ({principal.token_id}) has role {principal.role}: "
            "ask an admin for another token"
        )
