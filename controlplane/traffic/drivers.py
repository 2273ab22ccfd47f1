"""Makes the drivers that fleet.yaml names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from controlplane.config.models import GatewayTraffic, ModelSection, TritonTraffic, UnmovedTraffic
from controlplane.traffic.driver import Driver
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.gateway import GatewayDriver, Gateways
from controlplane.traffic.triton import TritonDriver


def build_drivers(models: Iterable[ModelSection], gateways: Gateways) -> dict[str, Driver]:
    """Return one driver for each model that can be switched, by model name. Call it on the running event loop.

    Models with driver `none` are left out. The caller closes every driver.
    """
    made = ((section.name, _driver(section, gateways)) for section in models)
    return {name: driver for name, driver in made if driver is not None}


def _driver(section: ModelSection, gateways: Gateways) -> Driver | None:
    match section.traffic:
        case TritonTraffic():
            return TritonDriver(section, open_session())
        case GatewayTraffic():
            return GatewayDriver(section, open_session(), gateways)
        case UnmovedTraffic():
            return None
        case traffic:
            assert_never(traffic)
