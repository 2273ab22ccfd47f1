"""A strict Kubernetes API server in memory, over HTTP/1.1 on loopback, held to transcripts of kube-apiserver 1.36."""

from tests.fakes.kubernetes.rbac import Rule
from tests.fakes.kubernetes.server import ApiServer

__all__ = ["ApiServer", "Rule"]
