"""Reviews: what a user may ask about its own rights. No rule is needed for them."""

import json
from typing import Any

from tests.fakes.kubernetes import managers
from tests.fakes.kubernetes.errors import Asked, forbidden
from tests.fakes.kubernetes.managers import Manager
from tests.fakes.kubernetes.rbac import ANONYMOUS, Access, User
from tests.fakes.kubernetes.schemas.schema import ANY

Json = dict[str, Any]

_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def reviewed(access: Access, user: User, method: str, path: str, raw: bytes, agent: str, now: str) -> Json | None:
    """Return the answer to a SelfSubjectAccessReview, or None for another request."""
    if method != "POST" or path != _PATH:
        return None
    if user == ANONYMOUS:
        raise forbidden(user.name, "create", Asked("authorization.k8s.io", "selfsubjectaccessreviews"))
    spec = json.loads(raw)["spec"]
    wanted = spec.get("resourceAttributes", {})
    asked = Asked(
        wanted.get("group", ""),
        wanted.get("resource", ""),
        wanted.get("namespace", ""),
        wanted.get("name", ""),
        wanted.get("subresource", ""),
    )
    status: Json = {"allowed": access.allows(user, wanted.get("verb", ""), asked)}
    if status["allowed"] and not user.admin:
        account = "/".join(reversed(user.name.split(":")[-2:]))
        name, namespace = account.partition("/")[0], asked.namespace
        status["reason"] = (
            f'RBAC: allowed by RoleBinding "{name}/{namespace}" of Role "{name}" to ServiceAccount "{account}"'
        )
    made: Json = {"metadata": {}, "spec": spec}
    by = Manager(agent.partition("/")[0], "Update", "authorization.k8s.io/v1")
    managers.updated({"metadata": {}, "spec": {}}, made, ANY, by, now)
    return {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": made["metadata"],
        "spec": spec,
        "status": status,
    }
