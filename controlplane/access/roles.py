"""Roles, and the check of a role that every route makes."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from controlplane.errors import Forbidden


class Role(StrEnum):
    """The rights of a token. Each role includes the roles before it. Compare roles with `includes`, not as texts."""

    VIEWER = "viewer"
    """Read everything."""
    OPERATOR = "operator"
    """Promote, roll back, abort."""
    ADMIN = "admin"
    """Tokens and configuration."""

    def includes(self, needed: Role) -> bool:
        """Return whether this role has all rights of `needed`."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Principal(NamedTuple):
    """The token, and possibly the console session, that makes a request."""

    name: str
    role: Role
    token_id: str
    session: str = ""
    """Digest of the console session; "" when the request carries the token itself."""


def require(principal: Principal, role: Role) -> None:
    """Raise Forbidden unless the principal's role includes `role`."""
    if not principal.role.includes(role):
        raise Forbidden(
            f"this needs role {role}, and token {principal.name} ({principal.token_id}) has role {principal.role}: "
            "ask an admin for another token"
        )
