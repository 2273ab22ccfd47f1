"""Bearer tokens, users and their rules."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.fakes.kubernetes.errors import Asked, forbidden, unauthorized


@dataclass(frozen=True)
class Rule:
    """A rule of a Role, or of a ClusterRole where `cluster` is true.

    verbs: for example "get"; "*" is every verb.
    resources: for example "deployments/scale"; "*" is every resource.
    names: resourceNames; empty is every name.
    """

    verbs: Sequence[str]
    groups: Sequence[str]
    resources: Sequence[str]
    names: Sequence[str] = ()
    namespace: str = ""
    cluster: bool = False

    def allows(self, verb: str, asked: Asked) -> bool:
        """Return whether the rule allows a verb on a resource."""
        here = self.cluster or (asked.namespace != "" and self.namespace in ("", asked.namespace))
        return (
            here
            and _among(verb, self.verbs)
            and _among(asked.group, self.groups)
            and _among(asked.resource, self.resources)
            and (not self.names or asked.name in self.names)
        )


class User(NamedTuple):
    """Who asks. An admin may do everything."""

    name: str
    admin: bool = False


ANONYMOUS = User("system:anonymous")


class Access:
    """Tokens and rules of the users. `anonymous` false answers 401 to a request without a token."""

    def __init__(self) -> None:
        self.anonymous = True
        self.rules: dict[str, list[Rule]] = {}
        self._users: dict[str, User] = {}

    def token(self, user: User, rules: Iterable[Rule] = (), token: str = "") -> str:
        """Give the user a token with these rules and return it. A text in `token` is the token."""
        made = token or secrets.token_urlsafe(24)
        self._users[made] = user
        self.rules[user.name] = list(rules)
        return made

    def revoke(self, token: str) -> None:
        """Make a token invalid: requests with it are answered 401."""
        del self._users[token]

    def who(self, authorization: str) -> User:
        """Return the user of a request. Raises ApiError 401 for a token that is not known."""
        if not authorization and self.anonymous:
            return ANONYMOUS
        user = self._users.get(authorization.removeprefix("Bearer ").strip())
        if user is None:
            raise unauthorized()
        return user

    def allows(self, user: User, verb: str, asked: Asked) -> bool:
        """Return whether the user may do this."""
        return user.admin or any(rule.allows(verb, asked) for rule in self.rules.get(user.name, []))

    def check(self, user: User, verb: str, asked: Asked) -> None:
        """Raise ApiError 403 when the user may not do this."""
        if not self.allows(user, verb, asked):
            raise forbidden(user.name, verb, asked)


def _among(found: str, allowed: Sequence[str]) -> bool:
    return "*" in allowed or found in allowed
