"""Failures of the API, each with the Status object that kube-apiserver 1.36 answers."""

from typing import Any, NamedTuple

Json = dict[str, Any]


class Cause(NamedTuple):
    """One reason why an object is invalid. `field` is a path such as "spec.rules[0].name"."""

    reason: str
    message: str
    field: str

    @classmethod
    def invalid(cls, field: str, message: str) -> "Cause":
        """Return the cause of a value that is refused."""
        return cls("FieldValueInvalid", f"Invalid value: {message}", field)

    @classmethod
    def required(cls, field: str, message: str = "") -> "Cause":
        """Return the cause of a value that is missing."""
        return cls("FieldValueRequired", "Required value" + (f": {message}" if message else ""), field)


class ApiError(Exception):
    """A request that fails: `code` is the HTTP status, `body` the Status object."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None, meta: Json | None = None):
        super().__init__(message)
        self.code = code
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": meta or {},
            "status": "Failure",
            "message": message,
            "reason": reason,
        }
        if details is not None:
            self.body["details"] = details
        self.body["code"] = code


class TextError(Exception):
    """A request that fails with a plain text body, before any API machinery."""

    def __init__(self, code: int, text: str, headers: dict[str, str] | None = None):
        super().__init__(text)
        self.code, self.text, self.headers = code, text, headers or {}


def details(name: str, group: str, kind: str) -> Json:
    """Return the details of a Status. Empty parts are left out, as Go's `omitempty` does."""
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


def qualified(plural: str, group: str) -> str:
    """Return for example "deployments.apps", or "services" for the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    """Return the 404 of an object."""
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, details(name, group, plural))


def no_resource() -> ApiError:
    """Return the 404 of a resource or subresource that the group does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> ApiError:
    """Return the 405 of a verb that a path does not have."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """Return the 409 of a create."""
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details(name, group, plural))


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(plural: str, group: str, name: str, why: str = STALE) -> ApiError:
    """Return the 409 of a write whose precondition does not hold."""
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, details(name, group, plural))


def bad_request(message: str) -> ApiError:
    """Return a 400."""
    return ApiError(400, "BadRequest", message)


def invalid(kind: str, group: str, name: str, causes: list[Cause]) -> ApiError:
    """Return the 422 of an object. `kind` is the singular kind, for example "HTTPRoute"."""
    told = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    found = details(name, group, kind) | {"causes": [cause._asdict() for cause in causes]}
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {listed}', found)


def forbidden(user: str, verb: str, where: "Asked") -> ApiError:
    """Return the 403 of RBAC."""
    named = (
        f'{qualified(where.plural, where.group)} "{where.name}"' if where.name else qualified(where.plural, where.group)
    )
    scope = f'in the namespace "{where.namespace}"' if where.namespace else "at the cluster scope"
    message = (
        f'{named} is forbidden: User "{user}" cannot {verb} resource "{where.resource}" '
        f'in API group "{where.group}" {scope}'
    )
    return ApiError(403, "Forbidden", message, details(where.name, where.group, where.plural))


class Asked(NamedTuple):
    """The resource that a request names. An absent part is ""."""

    group: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> str:
        """The resource as RBAC writes it, for example "deployments/scale"."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def unauthorized() -> ApiError:
    """Return the 401 of a token that is not valid."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def timed_out(message: str = "request did not complete within the allotted timeout") -> ApiError:
    """Return the 504 of a request whose outcome is unknown."""
    return ApiError(504, "Timeout", f"Timeout: {message}", {})


def expired(asked: int, oldest: int) -> ApiError:
    """Return the 410 of a resourceVersion that is no longer kept."""
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")
