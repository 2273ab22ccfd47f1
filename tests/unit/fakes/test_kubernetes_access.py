"""The rules of the test API server's users."""

import pytest

from tests.fakes.kubernetes.errors import ApiError, Asked
from tests.fakes.kubernetes.rbac import ANONYMOUS, Access, Rule, User

CHAT = Asked("", "services", "llm", "chat")
DRIVER = User("driver")


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (Rule(["patch"], [""], ["services"]), True),
        (Rule(["*"], ["*"], ["*"]), True),
        (Rule(["patch"], [""], ["services"], names=["chat"]), True),
        (Rule(["patch"], [""], ["services"], names=["other"]), False),
        (Rule(["patch"], [""], ["services"], namespace="llm"), True),
        (Rule(["patch"], [""], ["services"], namespace="default"), False),
        (Rule(["get"], [""], ["services"]), False),
        (Rule(["patch"], ["apps"], ["services"]), False),
        (Rule(["patch"], [""], ["services/status"]), False),
    ],
)
def test_a_rule_allows_its_verb_group_resource_name_and_namespace(rule: Rule, allowed: bool) -> None:
    access = Access()
    access.token(DRIVER, [rule])

    assert access.allows(DRIVER, "patch", CHAT) is allowed


def test_only_a_cluster_rule_reaches_the_cluster_scope() -> None:
    nodes = Asked("", "nodes")
    access = Access()
    access.token(DRIVER, [Rule(["list"], [""], ["nodes"])])
    assert not access.allows(DRIVER, "list", nodes)

    access.token(DRIVER, [Rule(["list"], [""], ["nodes"], cluster=True)])
    assert access.allows(DRIVER, "list", nodes)


def test_a_revoked_token_is_401_and_no_token_is_anonymous() -> None:
    access = Access()
    token = access.token(DRIVER)
    assert access.who(f"Bearer {token}") == DRIVER
    assert access.who("") == ANONYMOUS

    access.revoke(token)
    with pytest.raises(ApiError) as refused:
        access.who(f"Bearer {token}")
    assert refused.value.code == 401
    access.anonymous = False
    with pytest.raises(ApiError):
        access.who("")
