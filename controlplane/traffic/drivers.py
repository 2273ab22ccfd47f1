"""Makes the drivers that fleet.yaml names."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.config.model import ModelSection
from controlplane.traffic.driver import Driver
from controlplane.traffic.triton import TritonDriver
from controlplane.traffic.triton_api import open_session


def build_drivers(models: Iterable[ModelSection]) -> dict[str, Driver]:
    """Return one driver for each model that can be switched; to be called on the running event loop.

    Models with driver `none` have none. The caller closes every driver.
    """
    return {
        section.name: TritonDriver(section, open_session()) for section in models if section.traffic.driver == "triton"
    }
