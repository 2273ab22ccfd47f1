"""The registry of drivers: it makes the driver that a model's section of fleet.yaml names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from controlplane.config.models import ModelSection
from controlplane.config.traffic.base import Traffic
from controlplane.config.traffic.envoy import EnvoyTraffic
from controlplane.config.traffic.gateway import GatewayTraffic
from controlplane.config.traffic.haproxy import HaproxyTraffic
from controlplane.config.traffic.kubernetes import KubernetesTraffic
from controlplane.config.traffic.nginx import NginxTraffic
from controlplane.config.traffic.script import ScriptTraffic
from controlplane.config.traffic.triton import TritonTraffic
from controlplane.config.traffic.vllm import VllmTraffic
from controlplane.traffic.driver import Driver
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.envoy.proxy import Envoy
from controlplane.traffic.gateway.driver import GatewayDriver, Gateways
from controlplane.traffic.haproxy.proxy import Haproxy
from controlplane.traffic.kubernetes.proxy import Kubernetes
from controlplane.traffic.nginx.proxy import Nginx
from controlplane.traffic.proxies.driver import ProxyDriver
from controlplane.traffic.script.proxy import Script
from controlplane.traffic.triton.driver import TritonDriver
from controlplane.traffic.vllm.driver import VllmDriver

Factory = Callable[[ModelSection, Gateways], Driver]
"""Makes the driver of a model. Call it on the running event loop."""
FACTORIES: Mapping[type[Traffic], Factory] = MappingProxyType(
    {
        TritonTraffic: lambda section, _: TritonDriver(section, open_session()),
        GatewayTraffic: lambda section, gateways: GatewayDriver(section, open_session(), gateways),
        HaproxyTraffic: lambda section, _: ProxyDriver(section, open_session(), Haproxy(section)),
        NginxTraffic: lambda section, _: ProxyDriver(section, open_session(), Nginx(section)),
        EnvoyTraffic: lambda section, _: _envoy(section),
        KubernetesTraffic: lambda section, _: ProxyDriver(section, open_session(), Kubernetes(section)),
        ScriptTraffic: lambda section, _: ProxyDriver(section, open_session(), Script(section)),
        VllmTraffic: lambda section, _: VllmDriver(section, open_session()),
    }
)
"""Factories by section of fleet.yaml, one for each section that switches."""


def build_drivers(models: Iterable[ModelSection], gateways: Gateways) -> dict[str, Driver]:
    """Return one driver for each model that can be switched, by model name. Call it on the running event loop.

    Models with driver `none` are left out. The caller closes every driver.
    """
    moved = (section for section in models if section.traffic.switches)
    return {section.name: FACTORIES[type(section.traffic)](section, gateways) for section in moved}


def _envoy(section: ModelSection) -> Driver:
    session = open_session()
    return ProxyDriver(section, session, Envoy(section, session))
