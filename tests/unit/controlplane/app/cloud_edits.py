"""Edits of a cloud's place and keys."""

from __future__ import annotations

from typing import Any

AWS: tuple[str | int, ...] = ("targets", 5, "aws")
AZURE: tuple[str | int, ...] = ("targets", 6, "azure")
GOOGLE: tuple[str | int, ...] = ("targets", 7, "google")
_OTHER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/b"

_AWS = {"region": "eu-west-1"}
_GOOGLE = {"project": "p"}
_AZURE = {"resource": "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"}
_WORKLOAD = {
    "engine": "azure-openai",
    "urls": ["http://127.0.0.1:1"],
    "azure": {**_AZURE, "identity": "workload_identity"},
}

CLOUD_EDITS: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("targets[].aws.region", (*AWS, "region"), "us-east-1"),
    ("targets[].aws.identity", AWS, {**_AWS, "identity": "instance"}),
    ("targets[].aws.credentials_file", (*AWS, "credentials_file"), "/k2"),
    ("targets[].aws.profile", (*AWS, "profile"), "other"),
    ("targets[].aws.costs", (*AWS, "costs"), True),
    ("targets[].azure.identity", AZURE[:2], _WORKLOAD),
    ("targets[].azure.tenant", (*AZURE, "tenant"), "t2"),
    ("targets[].azure.client", (*AZURE, "client"), "c2"),
    ("targets[].azure.resource", (*AZURE, "resource"), _OTHER),
    ("targets[].azure.login", (*AZURE, "login"), "http://127.0.0.1:2"),
    ("targets[].aws.quotas", (*AWS, "quotas"), {"m": ["L-254CACF4"]}),
    ("targets[].azure.quotas", (*AZURE, "quotas"), True),
    ("targets[].azure.costs", (*AZURE, "costs"), True),
    ("targets[].google.project", (*GOOGLE, "project"), "p2"),
    ("targets[].google.identity", GOOGLE, {**_GOOGLE, "identity": "metadata_server"}),
    (
        "targets[].google.credentials_file",
        GOOGLE,
        {**_GOOGLE, "identity": "external_account", "credentials_file": "/k2"},
    ),
    ("targets[].google.billing_table", (*GOOGLE, "billing_table"), "p.d.t"),
    ("targets[].google.key_file", (*GOOGLE, "key_file"), "/k2"),
]
