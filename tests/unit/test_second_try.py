"""Which failed tests get a second try, and what it says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.second_try import MOST, once_more

PAGE = "tests/e2e/test_pages.py::test_a_page"
PROXY = "tests/contract/test_proxy.py::test_a_proxy[nginx, a::b/c]"
PURE = "tests/unit/promql/test_rate.py::test_rate"


class Runs:
    """Answers with one exit code, and keeps what was run."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.asked: list[Sequence[str]] = []

    def __call__(self, names: Sequence[str]) -> int:
        self.asked.append(names)
        return self.code


def test_tests_beside_real_servers_are_tried_again_and_named_when_they_pass() -> None:
    runs = Runs()
    code, said = once_more([PAGE, PROXY], runs)
    assert (code, runs.asked) == (0, [[PAGE, PROXY]])
    assert said == f"UNSTEADY: these tests failed, and passed alone. Find out why:\n  {PAGE}\n  {PROXY}"


def test_all_tests_of_a_file_whose_browser_died_are_tried_again() -> None:
    runs = Runs()
    failed = [f"tests/e2e/test_pages.py::test_{n}" for n in range(30)]
    assert once_more(failed, runs)[0] == 0
    assert runs.asked == [failed]


def test_a_test_that_fails_twice_fails_the_run() -> None:
    assert once_more([PAGE], Runs(1)) == (1, "The second try failed too.")


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        ([PAGE, PURE], f"No second try: these tests wait for nothing real:\n  {PURE}"),
        (
            [f"tests/e2e/test_{n}.py::test_a" for n in range(MOST + 1)],
            f"No second try: tests of {MOST + 1} files failed, more than {MOST}.",
        ),
        ([], "No second try: no test is known to have failed."),
        (["tests/conftest.py"], "No second try: these tests wait for nothing real:\n  tests/conftest.py"),
    ],
)
def test_a_run_that_a_busy_machine_does_not_explain_gets_no_second_try(failed: list[str], said: str) -> None:
    runs = Runs()
    assert once_more(failed, runs) == (1, said)
    assert runs.asked == []
