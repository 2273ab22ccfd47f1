"""The type of `traffic:` in fleet.yaml: the field `driver` selects the section."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from controlplane.config.traffic.envoy import EnvoyTraffic
from controlplane.config.traffic.gateway import GatewayTraffic
from controlplane.config.traffic.haproxy import HaproxyTraffic
from controlplane.config.traffic.kubernetes import KubernetesTraffic
from controlplane.config.traffic.nginx import NginxTraffic
from controlplane.config.traffic.script import ScriptTraffic
from controlplane.config.traffic.triton import TritonTraffic
from controlplane.config.traffic.unmoved import UnmovedTraffic
from controlplane.config.traffic.vllm import VllmTraffic

AnyTraffic = Annotated[
    TritonTraffic
    | GatewayTraffic
    | HaproxyTraffic
    | NginxTraffic
    | EnvoyTraffic
    | KubernetesTraffic
    | ScriptTraffic
    | VllmTraffic
    | UnmovedTraffic,
    Field(discriminator="driver"),
]
