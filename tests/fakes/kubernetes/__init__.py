"""A strict Kubernetes API server in memory, over HTTP/1.1 on loopback, held to transcripts of kube-apiserver 1.36.

Example:

    async with ApiServer(namespaces=("llm",)) as api:
        api.put(route)
        token = api.token([Rule(["get", "patch"], ["gateway.networking.k8s.io"], ["httproutes"], names=["chat"])])
        api.faults.hang("patch", "*/httproutes/chat", done=True)
        ...  # A client at api.url with this token gets a 504, although its write took effect.
        api.cluster.step()  # The gateway controller writes the route's status.
"""

from tests.fakes.kubernetes.rbac import Rule
from tests.fakes.kubernetes.server import ApiServer

__all__ = ["ApiServer", "Rule"]
