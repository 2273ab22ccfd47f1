"""Rules in objects of Kubernetes: files with `PrometheusRule` objects, as `kubectl` applies them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alerts.yaml_nodes import Place

KIND = "PrometheusRule"
API_GROUP = "monitoring.coreos.com/"
LISTS = ("List", "PrometheusRuleList")
UNUSED = ("partial_response_strategy",)
"""Fields of a group that only Thanos reads."""


def are_objects(documents: Sequence[Place]) -> bool:
    """Return whether the first document of a file is an object of Kubernetes, and no rule file of Prometheus."""
    return bool(documents) and documents[0].is_mapping and {"apiVersion", "kind"} <= documents[0].fields().keys()


def rule_lists(documents: Sequence[Place], file: str) -> list[tuple[str, Place]]:
    """Return the `groups:` of each PrometheusRule, each with the name for its groups, `FILE#NAMESPACE/NAME`.

    Objects of other kinds are left out: a file of Helm or Kustomize has some. Raises RuleError for a document that is
    no object, for a repeated object, and when no object is a PrometheusRule.
    """
    found: dict[str, Place] = {}
    for each in _objects(documents):
        fields = each.fields()
        if _text(fields, "kind") != KIND or not _text(fields, "apiVersion").startswith(API_GROUP):
            continue
        metadata = fields["metadata"].fields() if "metadata" in fields else {}
        name = _text(metadata, "name")
        if not name:
            raise each.error(f"a {KIND} needs metadata.name")
        namespace = _text(metadata, "namespace")
        key = f"{file}#{namespace}/{name}" if namespace else f"{file}#{name}"
        if key in found:
            raise each.error(f"{KIND} {key.partition('#')[2]} is in the file twice")
        spec = fields["spec"].within(f"{KIND} {name}: spec").fields("groups") if "spec" in fields else {}
        if "groups" in spec:
            found[key] = spec["groups"].within(f"{KIND} {name}")
    if not found:
        raise documents[0].error(f"no object in the file is a {KIND} with spec.groups")
    return list(found.items())


def _objects(documents: Sequence[Place]) -> Iterator[Place]:
    """Yield every object of a file, with those of its lists. Empty documents are left out."""
    for document in documents:
        if document.is_null:
            continue
        fields = document.fields()
        if "kind" not in fields:
            raise document.error("this document has no kind:; put rules of Prometheus into a file of their own")
        if fields["kind"].text() in LISTS:
            yield from _objects(list(fields["items"].items()) if "items" in fields else [])
        else:
            yield document


def _text(fields: dict[str, Place], name: str) -> str:
    return fields[name].text() if name in fields else ""
