"""Roles include each other upwards; refusals name the token and the role that it lacks."""

from __future__ import annotations

import pytest

from controlplane.access import Principal, Role, check_csrf, csrf_token, require
from controlplane.errors import Forbidden

V, OP, A, G, S = Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.GATEWAY, Role.ALERT_SENDER
INCLUDED = {V: {V}, OP: {V, OP, S}, A: {V, OP, A, G, S}, G: {G}, S: {S}}


@pytest.mark.parametrize("has", Role)
@pytest.mark.parametrize("needs", Role)
def test_a_role_includes_those_below_it_and_a_machine_no_other(has: Role, needs: Role) -> None:
    allowed = needs in INCLUDED[has]
    assert has.includes(needs) is allowed
    principal = Principal("ci", has, "0123abcd")
    if allowed:
        require(principal, needs)
    else:
        with pytest.raises(Forbidden, match=rf"needs role {needs}, and token ci \(0123abcd\) has role {has}"):
            require(principal, needs)


def test_a_csrf_token_is_its_sessions_own() -> None:
    assert csrf_token("cookie-a") == csrf_token("cookie-a") != csrf_token("cookie-b")
    check_csrf("cookie-a", csrf_token("cookie-a"))
    for wrong in ("", "é", csrf_token("cookie-b")):
        with pytest.raises(Forbidden, match="reload the page"):
            check_csrf("cookie-a", wrong)
