"""The counters file of dcgm-exporter switches on every field that the catalogue reads."""

from __future__ import annotations

import re
from pathlib import Path

from collectors.catalogue.model import load_catalogue

ROOT = Path(__file__).parents[3]
CLOCKS = {"DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_MEM_CLOCK"}
"""Fields without a canonical metric: people look at them beside clock reasons."""


def test_each_line_is_a_field_a_type_and_a_help_and_the_catalogue_reads_it() -> None:
    lines = (ROOT / "deploy" / "dcgm" / "counters.csv").read_text().splitlines()
    fields = {}
    for line in lines:
        if line and not line.startswith("#"):
            field, kind, told = (part.strip() for part in line.split(",", 2))
            assert re.fullmatch(r"DCGM_(FI|EXP)_[A-Z0-9_]+", field)
            assert kind in ("gauge", "counter") and told.endswith(".")
            assert field not in fields
            fields[field] = kind
    sources = load_catalogue().engines["dcgm"].sources
    read = {name for found in sources.values() for source in found for name in (*source.from_, *source.sum)}
    assert set(fields) - read == CLOCKS
    others = {"DCGM_FI_DEV_FB_TOTAL", "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL"}
    idle = {"DCGM_FI_DEV_SYNC_BOOST_VIOLATION", "DCGM_FI_DEV_LOW_UTIL_VIOLATION"}
    old = {name for name in read if name.startswith("dcgm_")}  # those of exporters before 2.0
    made = {"exporter_pod_info"}  # of the labels of other samples
    assert read - set(fields) - old - made == others | idle, (
        "alternatives of fields in the file, and reasons that no rule reads"
    )


def test_it_is_shown_where_people_describe_their_fleet() -> None:
    assert "deploy/dcgm/counters.csv" in (ROOT / "docs" / "guide" / "own-fleet.md").read_text()
