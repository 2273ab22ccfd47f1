"""Five failures a minute of one account from one address; nobody else waits for a guesser."""

from __future__ import annotations

import pytest

from controlplane.access.throttle import SignInThrottle, Throttled, site_of

GUESSER, OTHER = "10.0.0.1", "10.0.0.2"


def fail(throttle: SignInThrottle, account: str, address: str, *times: float) -> None:
    for now in times:
        throttle.check(account, address, f"wrong-{now}", now)
        throttle.failed(account, address, now)


def test_the_sixth_attempt_waits_until_the_first_is_a_minute_old() -> None:
    throttle = SignInThrottle()
    fail(throttle, "ann", GUESSER, 0, 1, 2, 3, 4)

    with pytest.raises(Throttled, match="try again in 55 s") as raised:
        throttle.check("ann", GUESSER, "guess", 5.0)
    assert raised.value.retry_after_s == 55.0
    throttle.check("ann", GUESSER, "guess", 60.0)


def test_a_guesser_holds_up_neither_others_nor_the_accounts_own_user_elsewhere() -> None:
    throttle = SignInThrottle()
    fail(throttle, "ann", GUESSER, 0, 1, 2, 3, 4)
    throttle.check("ann", OTHER, "hers", 5.0)
    throttle.check("bob", GUESSER, "his", 5.0)


def test_made_up_accounts_are_bounded_by_their_address() -> None:
    throttle = SignInThrottle(address_limit=60)
    for number in range(60):
        fail(throttle, f"{number:08x}", GUESSER, number / 10)
    with pytest.raises(Throttled):
        throttle.check("0000ffff", GUESSER, "guess", 6.0)
    throttle.check("0000ffff", OTHER, "guess", 6.0)


def test_a_credential_that_was_good_is_always_heard() -> None:
    throttle = SignInThrottle()
    throttle.succeeded("ann", GUESSER, "hers")
    fail(throttle, "ann", GUESSER, 0, 1, 2, 3, 4)
    throttle.check("ann", GUESSER, "hers", 5.0)
    with pytest.raises(Throttled):
        throttle.check("ann", GUESSER, "guess", 5.0)


def test_signing_in_forgets_the_failures_of_the_account_there() -> None:
    throttle = SignInThrottle(limit=2)
    fail(throttle, "ann", GUESSER, 0)
    throttle.succeeded("ann", GUESSER, "hers")
    fail(throttle, "ann", GUESSER, 1)
    throttle.check("ann", GUESSER, "guess", 2.0)
    throttle.succeeded("never seen", OTHER, "good")


def test_memory_is_bounded_by_forgetting_who_failed_longest_ago() -> None:
    throttle = SignInThrottle(limit=1, most=2)
    throttle.failed("a", "1.0.0.1", 0.0)
    throttle.failed("b", "1.0.0.2", 1.0)
    throttle.failed("a", "1.0.0.1", 2.0)
    throttle.failed("c", "1.0.0.3", 3.0)
    throttle.check("b", "1.0.0.2", "guess", 4.0)
    for account, address in (("a", "1.0.0.1"), ("c", "1.0.0.3")):
        with pytest.raises(Throttled):
            throttle.check(account, address, "guess", 4.0)

    for number in range(3):
        throttle.succeeded("d", "1.0.0.4", f"good-{number}")
    throttle.failed("d", "1.0.0.4", 5.0)
    with pytest.raises(Throttled):
        throttle.check("d", "1.0.0.4", "good-0", 6.0)
    throttle.check("d", "1.0.0.4", "good-2", 6.0)


def test_a_clock_that_was_set_back_holds_nobody_up() -> None:
    throttle = SignInThrottle()
    fail(throttle, "ann", GUESSER, 1000, 1001, 1002, 1003, 1004)
    throttle.check("ann", GUESSER, "guess", 500.0)


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_host_that_owns_a_whole_network_is_one_client(address: str, site: str) -> None:
    assert site_of(address) == site
