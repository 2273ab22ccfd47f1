"""Roles, and the check of a role that every route makes."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from controlplane.errors import Forbidden


class Role(StrEnum):
    """The rights of a token. Compare roles with `includes`, not as texts.

    An admin may do everything, an operator what a viewer may. The tokens of a gateway and of
    a sender of alerts reach no other routes than their own.
    """

    VIEWER = "viewer"
    """Read everything."""
    OPERATOR = "operator"
    """Promote, roll back, abort."""
    ADMIN = "admin"
    """Tokens and configuration."""
    GATEWAY = "gateway"
    """Fetch the desired state of gateways, report what a gateway applies, and post its usage."""
    ALERT_SENDER = "alert-sender"
    """Send alerts, as a Prometheus does, and heartbeats. A token in another server's configuration steers nothing."""

    def includes(self, needed: Role) -> bool:
        """Return whether this role has all rights of `needed`."""
        return needed in _INCLUDED[self]


_INCLUDED = {
    Role.VIEWER: {Role.VIEWER},
    Role.OPERATOR: {Role.VIEWER, Role.OPERATOR, Role.ALERT_SENDER},
    Role.ADMIN: set(Role),
    Role.GATEWAY: {Role.GATEWAY},
    Role.ALERT_SENDER: {Role.ALERT_SENDER},
}


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
