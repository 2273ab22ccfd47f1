from __future__ import annotations

import pytest

from controlplane.gateway.desired.document import KeySpec
from controlplane.gateway.limits.keys import ANONYMOUS, Keys
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Caller, HeadFacts, RequestHead
from tests.fakes.limits import SECRET, head, key

GOOD = f"cpk_ab12_{SECRET}"


@pytest.fixture
def keys() -> Keys:
    return Keys(
        (key(), key(key_id="cd34", tenant="globex", role="tester", models=("chat",), priority=3)), required=True
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": f"Bearer {GOOD}"},
        {"authorization": f"bearer   {GOOD} "},
        {"x_api_key": GOOD},
        {"api_key": GOOD},
        {"authorization": "Basic dTpw", "x_api_key": GOOD},
        {"authorization": "Bearer", "api_key": GOOD},
    ],
)
def test_a_key_is_accepted_in_each_field_that_clients_use(keys: Keys, fields: dict[str, str]) -> None:
    assert keys.authenticate(head(**fields), 0.0) == Caller("ab12", "acme")


def test_the_caller_has_what_the_key_says(keys: Keys) -> None:
    caller = keys.authenticate(head(x_api_key=f"cpk_cd34_{SECRET}"), 0.0)
    assert caller == Caller("cd34", "globex", "tester", frozenset({"chat"}), 3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "None was sent"),
        ({"authorization": "Basic dTpw"}, "another scheme was sent"),
        ({"authorization": "Bearer sk-proj-123"}, "wrong form"),
        ({"authorization": f"Bearer cpk_ab12_{SECRET}x"}, "not known"),
        ({"authorization": "Bearer cpk_ab12_"}, "not known"),
        ({"authorization": "Bearer cpk_"}, "not known"),
        ({"authorization": f"Bearer cpk_zz99_{SECRET}"}, "not known"),
        ({"authorization": f"Bearer cpk_ab12_{SECRET * 10}"}, "not known"),
        ({"authorization": f"Bearer CPK_ab12_{SECRET}"}, "wrong form"),
    ],
)
def test_anything_else_is_refused_and_not_repeated(keys: Keys, fields: dict[str, str], words: str) -> None:
    refusal = keys.authenticate(head(**fields), 0.0)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is RefusalKind.UNAUTHENTICATED
    assert refusal.code == "invalid_api_key"
    assert words in refusal.message
    assert SECRET not in refusal.message and "123" not in refusal.message and "zz99" not in refusal.message


def test_a_key_expires_at_its_second() -> None:
    keys = Keys((key(expires_at=100.0),), required=True)
    assert isinstance(keys.authenticate(head(api_key=GOOD), 99.9), Caller)
    refusal = keys.authenticate(head(api_key=GOOD), 100.0)
    assert isinstance(refusal, Refusal) and refusal.code == "expired_api_key" and "ab12" in refusal.message


def test_only_the_right_secret_learns_that_a_key_has_expired() -> None:
    keys = Keys((key(expires_at=100.0),), required=True)
    refusal = keys.authenticate(head(api_key="cpk_ab12_wrong"), 200.0)
    assert isinstance(refusal, Refusal) and "expired" not in refusal.message


def test_a_key_with_a_damaged_digest_opens_nothing() -> None:
    keys = Keys((KeySpec("ab12", "no hex", "acme"), KeySpec("cd34", "", "acme")), required=True)
    for key_id in ("ab12", "cd34"):
        assert isinstance(keys.authenticate(head(api_key=f"cpk_{key_id}_"), 0.0), Refusal)


def test_without_authentication_any_word_is_anonymous_and_a_key_still_counts() -> None:
    keys = Keys((key(),), required=False)
    assert keys.authenticate(head(), 0.0) == ANONYMOUS == Caller("", "anonymous")
    assert keys.authenticate(head(authorization="Bearer dummy"), 0.0) == ANONYMOUS
    assert keys.authenticate(head(authorization=f"Bearer {GOOD}"), 0.0) == Caller("ab12", "acme")
    assert isinstance(keys.authenticate(head(api_key="cpk_ab12_wrong"), 0.0), Refusal)


def known(fields: str) -> RequestHead:
    found = head(authorization=fields)
    found.facts = HeadFacts()
    return found


def test_a_head_that_comes_again_is_vouched_for_by_the_same_keys_only(keys: Keys) -> None:
    again = known(f"Bearer {GOOD}")
    caller = keys.authenticate(again, 0.0)
    assert caller == Caller("ab12", "acme")
    assert keys.authenticate(again, 0.0) is caller
    without = Keys((), required=True).authenticate(again, 0.0)
    assert isinstance(without, Refusal) and without.kind is RefusalKind.UNAUTHENTICATED
    moved = Keys((key(tenant="globex"),), required=True)
    assert moved.authenticate(again, 0.0) == Caller("ab12", "globex")


def test_a_key_expires_for_a_head_that_comes_again() -> None:
    keys = Keys((key(expires_at=100.0),), required=True)
    again = known(f"Bearer {GOOD}")
    assert isinstance(keys.authenticate(again, 99.0), Caller)
    late = keys.authenticate(again, 100.0)
    assert isinstance(late, Refusal) and late.code == "expired_api_key"


def test_a_wrong_key_stays_wrong(keys: Keys) -> None:
    again = known(f"Bearer {GOOD}x")
    assert all(isinstance(keys.authenticate(again, 0.0), Refusal) for _ in range(2))


def test_callers_without_a_key_are_known_again_where_none_is_needed() -> None:
    keys, again = Keys((key(),), required=False), known("")
    assert keys.authenticate(again, 0.0) is keys.authenticate(again, 0.0) is ANONYMOUS
