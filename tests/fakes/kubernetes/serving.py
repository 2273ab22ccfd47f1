"""One request: who asks, whether they may, and what is answered."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.fakes.kubernetes import lists, scale, selectors
from tests.fakes.kubernetes.bodies import APPLY, Options, doubled, read_object, read_patch
from tests.fakes.kubernetes.errors import Asked, bad_request, method_not_allowed
from tests.fakes.kubernetes.paths import Target
from tests.fakes.kubernetes.rbac import Access, User
from tests.fakes.kubernetes.resources import Answer, Resources

Json = dict[str, Any]


class Request(NamedTuple):
    """A request on a resource."""

    method: str
    target: Target
    query: Mapping[str, str]
    content_type: str
    agent: str
    raw: bytes
    user: User

    @property
    def verb(self) -> str:
        """The verb as RBAC writes it. Raises ApiError 405 for a method that the path does not have."""
        named = bool(self.target.name)
        if self.method == "GET":
            if self.target.watching or self.query.get("watch") in ("1", "true"):
                return "watch"
            return "get" if named else "list"
        if self.method == "DELETE":
            return "delete" if named else "deletecollection"
        if self.method == "PATCH" and not named and self.target.kind.custom:
            raise bad_request("name must be provided")
        verbs = {("POST", False): "create", ("PUT", True): "update", ("PATCH", True): "patch"}
        if (self.method, named) not in verbs:
            raise method_not_allowed()
        return verbs[self.method, named]

    @property
    def asked(self) -> Asked:
        """The resource that RBAC judges. A list or watch of one name counts as that name."""
        asked = self.target.asked
        if not asked.name:
            asked = asked._replace(name=selectors.named(self.query.get("fieldSelector", "")))
        return asked

    @property
    def options(self) -> Options:
        """The options of a write."""
        media = self.content_type.partition(";")[0]
        manager = self.query.get("fieldManager", "")
        if media != APPLY and not manager:
            manager = self.agent.partition("/")[0]
        return Options(
            manager=manager,
            dry_run=self.query.get("dryRun") == "All",
            force=self.query.get("force") in ("true", "1"),
            validation=self.query.get("fieldValidation") or "Warn",
            applies=media == APPLY,
            doubled=doubled(self.raw) if self.method in ("POST", "PUT", "PATCH") else (),
        )


class Desk:
    """Answers requests on resources, except watches."""

    def __init__(self, resources: Resources, access: Access) -> None:
        self.resources, self.access = resources, access

    def allow(self, request: Request) -> None:
        """Raise ApiError 403 when the user may not do this."""
        self.access.check(request.user, request.verb, request.asked)

    def answer(self, request: Request) -> Answer:
        """Do what is asked. Raises ApiError."""
        answer: Answer = getattr(self, f"_{request.verb}")(request)
        kind, version = request.target.kind, request.target.version
        if answer.object.get("kind") == kind.kind and version != kind.versions[0]:
            answer = answer._replace(object=answer.object | {"apiVersion": kind.named(version)})
        return answer

    def _get(self, request: Request) -> Answer:
        target = request.target
        found = self.resources.get(target.kind, target.key)
        return Answer(200, scale.view(found) if target.subresource == "scale" else found)

    def _list(self, request: Request) -> Answer:
        return Answer(200, lists.listing(self.resources.store, request.target, request.query))

    def _create(self, request: Request) -> Answer:
        target = request.target
        body = read_object(request.raw, request.content_type, target.kind, target.version)
        return self.resources.create(target.kind, target.namespace, _stored(body, target), request.options)

    def _update(self, request: Request) -> Answer:
        target = request.target
        if target.subresource == "scale":
            body = json.loads(request.raw)
            return scale.write(self.resources, target.kind, target.key, "", body, request.options)
        body = read_object(request.raw, request.content_type, target.kind, target.version)
        stored = _stored(body, target)
        return self.resources.replace(target.kind, target.key, stored, target.subresource, request.options)

    def _patch(self, request: Request) -> Answer:
        target, options = request.target, request.options
        media, patch = read_patch(request.raw, request.content_type, target.kind)
        if target.subresource == "scale":
            return scale.write(self.resources, target.kind, target.key, media, patch, options)
        if media == APPLY and options.manager and target.key not in self.resources.store.objects:
            self.access.check(request.user, "create", target.asked)
        return self.resources.patch(target.kind, target.key, media, patch, target.subresource, options)

    def _delete(self, request: Request) -> Answer:
        wish = self._wish(request)
        return self.resources.delete(request.target.kind, request.target.key, wish, request.options.dry_run)

    def _deletecollection(self, request: Request) -> Answer:
        found = lists.listing(self.resources.store, request.target, request.query)
        for one in found["items"]:
            metadata = one["metadata"]
            key = request.target.key._replace(name=metadata["name"], namespace=metadata.get("namespace", ""))
            self.resources.delete(request.target.kind, key, self._wish(request))
        return Answer(200, found)

    def _wish(self, request: Request) -> Json:
        wish: Json = json.loads(request.raw) if request.raw else {}
        if request.query.get("propagationPolicy"):
            wish["propagationPolicy"] = request.query["propagationPolicy"]
        return wish


def _stored(body: Json, target: Target) -> Json:
    return body | {"apiVersion": target.kind.api_version, "kind": target.kind.kind}
