"""The page of the gateway names every metric family with its labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.gateway.telemetry.families import FAMILIES, Family

PAGE = (Path(__file__).parents[5] / "docs" / "gateway.md").read_text()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_family_is_documented(family: Family) -> None:
    assert f"`{family.name.removeprefix('controlplane_gateway_')}`" in PAGE
