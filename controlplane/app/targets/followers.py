"""The follower of each kind of source of addresses."""

from __future__ import annotations

from collectors.discovery.asking import Follower, FollowerOf
from collectors.discovery.consul_following import consul_follower
from collectors.discovery.consul_sd import ConsulSd
from collectors.discovery.dns_following import dns_follower
from collectors.discovery.dns_sd import DnsSd
from collectors.discovery.docker_following import docker_follower
from collectors.discovery.docker_sd import DockerSd
from collectors.discovery.group import SdConfig
from collectors.discovery.http_following import http_follower
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.operator_sd import OperatorSd
from collectors.discovery.polling import Means
from controlplane.discovery.kubernetes.following import kubernetes_follower
from controlplane.discovery.monitors.following import operator_follower


def followers(means: Means) -> FollowerOf:
    """Return what follows the list of a source, by the kind of its settings."""

    def follower_of(sd: SdConfig) -> Follower:
        match sd:
            case HttpSd():
                return http_follower(sd, means)
            case DnsSd():
                return dns_follower(sd, means)
            case ConsulSd():
                return consul_follower(sd, means)
            case DockerSd():
                return docker_follower(sd, means)
            case KubernetesSd():
                return kubernetes_follower(sd, means)
            case OperatorSd():
                return operator_follower(sd, means)
            case _:
                raise TypeError(f"{type(sd).__name__} is no known source of addresses")

    return follower_of
