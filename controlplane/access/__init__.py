"""Access control: tokens, roles, console sessions."""

from __future__ import annotations

from controlplane.access.bootstrap import bootstrap
from controlplane.access.gatekeeper import Attempt, Gatekeeper
from controlplane.access.roles import Principal, Role, require
from controlplane.access.sessions import SessionStore, check_csrf, csrf_token
from controlplane.access.throttle import Throttled
from controlplane.access.tokens import Token, TokenStore

__all__ = [
    "Attempt",
    "Gatekeeper",
    "Principal",
    "Role",
    "SessionStore",
    "Throttled",
    "Token",
    "TokenStore",
    "bootstrap",
    "check_csrf",
    "csrf_token",
    "require",
]
