"""The API server's refusals as this product's errors: what happened, where, and the cure. Pure.

tests/fixtures/kubernetes/11-errors.json has the answers of a real kube-apiserver 1.36 that this module is held to.
"""

from __future__ import annotations

import json
from typing import Any

from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.traffic.driver import EngineRefused, NotSent
from controlplane.traffic.kubernetes.resource import Json, Resource, text_at
from controlplane.traffic.words import told

HEAD_CHARS, TAIL_CHARS = 300, 500
"""Parts of a long message that stay. A refused patch is told with the whole object, and the reason comes last."""
_ANONYMOUS = '"system:anonymous"'
"""The user of a request without credentials, as the server names it."""


class Changed(ControlPlaneError):
    """Another writer changed the object since it was read. Nothing was written."""


class Missing(EngineRefused):
    """There is no such object, or no such kind of objects."""


class Gone(Unavailable):
    """The server has no history back to the wanted resourceVersion."""


def error_of(status: int, body: bytes, verb: str, resource: Resource) -> ControlPlaneError:
    """Return the error for an answer that is none of 2xx. `verb` is the one of RBAC, such as "patch"."""
    said = _status_object(body)
    words = _words(said, body) or f"status {status}"
    if status == 403 and _ANONYMOUS in words:
        return NotSent(
            f"the API server got no credentials at {verb} of {resource}: {words}; does the account have any?"
        )
    if status == 401:
        return NotSent(f"the API server does not know this account (401) at {verb} of {resource}; is its token valid?")
    if status == 403:
        return EngineRefused(f"{words}; {_cure(words, verb, resource)}")
    if status == 404:
        return Missing(_missing(said, resource))
    if status == 409:
        return Changed(f"{resource} was changed by another writer in between: {words}")
    if status == 410:
        return Gone(f"the API server has forgotten the history of {resource}: {words}")
    if status == 429:
        return NotSent(f"the API server has too many requests and did not {verb} {resource}: {words}")
    if 400 <= status < 500 and status != 408:
        return EngineRefused(f"the API server refused to {verb} {resource}: {words}")
    # A server that ran out of time may have done it.
    return Unavailable(f"the API server could not {verb} {resource} ({status}): {words}")


def event_error(said: Json, resource: Resource) -> ControlPlaneError:
    """Return the error of a watch's ERROR line."""
    code = said.get("code")
    status = code if isinstance(code, int) else 500
    return error_of(status, json.dumps(said).encode(), "watch", resource)


def _status_object(body: bytes) -> Json:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    # The 504 of a custom resource has neither kind nor apiVersion.
    return found if isinstance(found, dict) and found.get("kind", "Status") == "Status" else {}


def _words(said: Json, body: bytes) -> str:
    """Return the server's words. A Status says all its causes in its message."""
    words = (
        text_at(said, "message") or text_at(said, "reason") if said else body[:HEAD_CHARS].decode("utf-8", "replace")
    )
    if len(words) > HEAD_CHARS + TAIL_CHARS:
        words = f"{words[:HEAD_CHARS]} … {words[-TAIL_CHARS:]}"
    return told(words)


def _cure(words: str, verb: str, resource: Resource) -> str:
    if f" cannot {verb} resource " not in words:
        return "the account has the right, but an admission rule, a quota or the namespace's deletion forbids it"
    name = f" {resource.name}" if resource.name else ""
    where = f"in namespace {resource.namespace}" if resource.namespace else "in a ClusterRole"
    return f"allow the verb {verb} on {resource.rule}{name} {where} ({resource.manifest} has the rules)"


def _missing(said: Json, resource: Resource) -> str:
    if text_at(said, "reason") == "NotFound" and text_at(said, "details", "name"):
        return f"namespace {resource.namespace} has no {resource.kind} {resource.name}"
    return (
        f"the cluster knows no {resource.rule} of version {resource.version}: install its CustomResourceDefinitions, "
        f"or {resource.cure}"
    )
