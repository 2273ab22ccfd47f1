"""The copy of a dataclass is the one that the standard library makes."""

import dataclasses

import pytest

from controlplane.rollout.copying import replace
from controlplane.rollout.model import Decision, Phase, Trial


def test_a_copy_is_that_of_the_standard_library_and_leaves_the_value_as_it_is() -> None:
    value = Trial("http://a", 1.0, asked=3)
    assert replace(value, failed=2, words="no") == dataclasses.replace(value, failed=2, words="no")
    assert value == Trial("http://a", 1.0, asked=3)
    decision = Decision(Phase.PREPARING, "loads")
    assert replace(decision) == decision
    assert replace(decision) is not decision


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Trial has no field failures, tries"):
        replace(Trial("http://a", 1.0), tries=1, failures=2)  # type: ignore[call-arg]
