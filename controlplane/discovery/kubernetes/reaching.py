"""The cluster of a source of addresses, with the namespaces that are read in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from collectors.discovery.asking import Hears
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.polling import Means
from collectors.errors import DiscoveryError
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.login import Login

CALL_S = 4.0
"""Deadline of a call. Chosen: `cp check` waits five seconds, and then tells this fault."""
NAMESPACE_S = 30.0
"""Seconds until the name of the own namespace is read again after a fault."""
MAX_FAULTS = 3
"""Number of faults that are told. Chosen: many collections have the same one."""


@asynccontextmanager
async def reached(
    sd: KubernetesSd, place: str, heard: Hears, means: Means, in_pod: Path
) -> AsyncIterator[tuple[Cluster, Sequence[str]]]:
    """Yield the cluster and the namespaces, "" for all of them, as soon as these are known.

    `place` begins the faults until then. `in_pod` is the folder of the pod's own account.
    """
    while True:
        try:
            namespaces = await means.in_thread(_namespaces, sd, place, in_pod)
            break
        except DiscoveryError as error:
            heard.failed(error)
            await means.sleep(NAMESPACE_S)
    login = Login(sd.api_server, sd.auth) if sd.api_server else None
    kubeconfig = Path(sd.kubeconfig) if sd.kubeconfig else None
    cluster = Cluster(kubeconfig, None, login=login, timeout_s=CALL_S)
    try:
        yield cluster, namespaces
    finally:
        await cluster.close()


def joined_faults(faults: Sequence[str]) -> str:
    """Return the first faults, and the number of the others."""
    rest = len(faults) - MAX_FAULTS
    return "; ".join(faults[:MAX_FAULTS]) + (f"; and {rest} more" if rest > 0 else "")


def _namespaces(sd: KubernetesSd, place: str, in_pod: Path) -> tuple[str, ...]:
    """Return the namespaces; "" is all of them. Blocking. Raises DiscoveryError."""
    if not sd.own_namespace:
        return tuple(dict.fromkeys(sd.namespaces)) or ("",)
    file = in_pod / "namespace"
    try:
        own = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        cure = "own_namespace needs a pod with an account; elsewhere write names: [NAMESPACE]"
        raise DiscoveryError(f"{place}: cannot read {file} ({type(error).__name__}); {cure}") from error
    if not own:
        raise DiscoveryError(f"{place}: {file} is empty; write names: [NAMESPACE]")
    return tuple(dict.fromkeys((*sd.namespaces, own)))
