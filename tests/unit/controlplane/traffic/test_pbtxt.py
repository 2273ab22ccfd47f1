"""Editing config.pbtxt as text: whatever else is in the file stays byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.traffic.triton.pbtxt import minimal, with_versions

MARK = "# before the control plane's last switch: "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "version_policy: { specific: { versions: [ 2 ] } }\n"),
        (
            'name: "m"\n',
            f'name: "m"\n{MARK}no version_policy\nversion_policy: {{ specific: {{ versions: [ 2 ] }} }}\n',
        ),
        (
            'name: "m" # mine\nversion_policy { latest { num_versions: 1 } } # why\nbackend: "python"\n',
            f'name: "m" # mine\n{MARK}version_policy {{ latest {{ num_versions : 1 }} }}\n'
            'version_policy: { specific: { versions: [ 2 ] } } # why\nbackend: "python"\n',
        ),
        (
            "version_policy: {\n  all { } # every one\n}\n",
            f"{MARK}version_policy : {{ all {{ }} }}\nversion_policy: {{ specific: {{ versions: [ 2 ] }} }}\n",
        ),
        (
            "version_policy < specific < versions: 1 versions: 7 > >\n",
            f"{MARK}version_policy < specific < versions : 1 versions : 7 > >\n"
            "version_policy: { specific: { versions: [ 2 ] } }\n",
        ),
        (
            "# version_policy: { all {} }\nparameters { key: \"version_policy { }\" value { string_value: 'a}' } }\n"
            "extra { version_policy { all {} } }\n",
            "# version_policy: { all {} }\nparameters { key: \"version_policy { }\" value { string_value: 'a}' } }\n"
            f"extra {{ version_policy {{ all {{}} }} }}\n{MARK}no version_policy\n"
            "version_policy: { specific: { versions: [ 2 ] } }\n",
        ),
    ],
    ids=["empty", "none yet", "latest", "over lines", "angle brackets", "only in comments, strings and other blocks"],
)
def test_the_policy_is_replaced_and_nothing_else(text: str, expected: str) -> None:
    assert with_versions(text, [2]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "version_policy: { specific: { versions: [ 2 ] } }\n",
        "version_policy { specific { versions: 2 } }",
        "version_policy {\n specific { versions: [2] } # two\n}\n",
    ],
)
def test_a_file_that_already_says_so_is_left_alone(text: str) -> None:
    assert with_versions(text, [2]) == text


def test_only_the_last_policy_is_remembered() -> None:
    text = 'name: "m"\nversion_policy: { specific: { versions: [ 1 ] } }\n'
    twice = with_versions(with_versions(text, [2]), [3])
    assert twice == (
        f'name: "m"\n{MARK}version_policy : {{ specific : {{ versions : [ 2 ] }} }}\n'
        "version_policy: { specific: { versions: [ 3 ] } }\n"
    )


def test_versions_are_sorted() -> None:
    assert with_versions("", [10, 2]) == "version_policy: { specific: { versions: [ 2, 10 ] } }\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [("version_policy {", "not closed"), ("}", "unbalanced '}' at character 0"), ('name: "m', "string .* not closed")],
)
def test_a_broken_file_is_not_touched(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        with_versions(text, [2])


@given(
    st.text(alphabet="ab{}#\"'\\\n: ", max_size=40), st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True)
)
def test_editing_twice_is_editing_once(text: str, versions: list[int]) -> None:
    try:
        once = with_versions(text, versions)
    except ValueError:
        return
    assert with_versions(once, versions) == once


def test_a_model_without_a_file_gets_an_honest_one() -> None:
    assert minimal("m", {"backend": "python"}).endswith('name: "m"\nbackend: "python"\n')
    assert minimal("m", {"backend": "", "platform": "ensemble"}).endswith('name: "m"\nplatform: "ensemble"\n')
