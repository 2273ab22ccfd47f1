"""`targets[].aws`, `.azure` and `.google` of fleet.yaml: places of clouds' metrics, and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import FilePath, HttpUrl, Model, Text

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{1,12}){1,3}-[0-9]{1,2}")

_RESOURCE = re.compile(
    r"/subscriptions/[\w-]+/resourceGroups/[\w.()-]+/providers/Microsoft\.CognitiveServices/accounts/[\w-]+",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"L-[0-9A-F]{8}")
_TABLE = re.compile(r"[a-z0-9][a-z0-9.:-]{0,99}\.[A-Za-z0-9_]{1,200}\.[A-Za-z0-9_]{1,200}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError("expected a region of AWS such as eu-west-1")
    return value


def _quota(value: str) -> str:
    if not _QUOTA.fullmatch(value):
        raise ValueError("expected the code of a quota such as L-254CACF4")
    return value


def _table(value: str) -> str:
    if not _TABLE.fullmatch(value):
        raise ValueError("expected PROJECT.DATASET.TABLE such as billing.export.gcp_billing_export_v1_01AB23_45CD67")
    return value


def _resource(value: str) -> str:
    if not _RESOURCE.fullmatch(value):
        raise ValueError(
            "expected /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.CognitiveServices/accounts/NAME"
        )
    return value


def _identity(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("expected an id such as 72f988bf-86f1-41af-91ab-2d7cd011db47, or a domain")
    return value


class AwsSection(Model):
    """An account at AWS in one region."""

    region: Annotated[Text, AfterValidator(_region)]
    identity: Literal["access_key", "web_identity", "container", "instance"] = "access_key"
    """Signer of the requests: an access key, or a role whose short keys AWS gives."""
    credentials_file: FilePath | None = None
    """access_key only: a shared credentials file. Default: the environment, AWS_ACCESS_KEY_ID and so on."""
    profile: Text = "default"
    """credentials_file only: the profile in it."""
    costs: bool = False
    """Whether costs are read from Cost Explorer, four times a day. AWS charges 0.01 USD for a request."""

    quotas: dict[Text, tuple[Annotated[Text, AfterValidator(_quota)], ...]] = Field(default={})
    """bedrock only: codes of the quotas of each ModelId in Service Quotas."""

    @check
    def _files_are_for_access_keys(self) -> Iterator[Fault]:
        if self.identity == "access_key":
            return
        if self.credentials_file:
            yield Fault(("credentials_file",), f"is not for identity {self.identity}, which has no file; remove it")
        if self.profile != "default":
            yield Fault(("profile",), f"is not for identity {self.identity}, which has no file; remove it")

    @check
    def _costs_are_in_dollars(self) -> Iterator[Fault]:
        if self.costs and self.region.startswith("cn-"):
            yield Fault(("costs",), "AWS in China has another Cost Explorer, which is not known here; remove it")


class AzureSection(Model):
    """An Azure OpenAI resource, and the application or managed identity that may read its metrics."""

    identity: Literal["client_secret", "workload_identity", "managed_identity"] = "client_secret"
    """Asker of the API: an application with a secret or a workload's own token, or an identity of Azure's hosts."""
    tenant: Annotated[Text, AfterValidator(_identity)] | None = None
    client: Annotated[Text, AfterValidator(_identity)] | None = None
    """Id of the application, whose secret is under `authorization`, or of a user-assigned identity."""
    resource: Annotated[Text, AfterValidator(_resource)]
    login: HttpUrl = "https://login.microsoftonline.com"
    """Base of the identity platform."""
    costs: bool = False
    """Whether the resource's costs are read from Cost Management, four times a day."""
    quotas: bool = False
    """Whether the rate limits of deployments are read."""

    @check
    def _applications_are_named(self) -> Iterator[Fault]:
        if self.identity == "client_secret":
            for field in ("tenant", "client"):
                if getattr(self, field) is None:
                    yield Fault((field,), "is required for identity client_secret")

    @check
    def _managed_identities_have_no_tenant(self) -> Iterator[Fault]:
        if self.identity == "managed_identity" and self.tenant:
            yield Fault(("tenant",), "is not for identity managed_identity, which belongs to one tenant; remove it")


class GoogleSection(Model):
    """A project at Google Cloud, and the account that may read its metrics."""

    project: Annotated[Text, AfterValidator(_identity)]
    identity: Literal["service_account", "external_account", "metadata_server"] = "service_account"
    """Asker of the API: a service account with a key, an external account, or the account of this host or pod."""
    key_file: FilePath | None = None
    """service_account only: its key, in JSON."""
    credentials_file: FilePath | None = None
    """external_account only: its description, in JSON."""
    billing_table: Annotated[Text, AfterValidator(_table)] | None = None
    """Table of BigQuery to which Cloud Billing exports costs. Default: none are read."""

    @check
    def _has_its_file(self) -> Iterator[Fault]:
        needed = {"service_account": "key_file", "external_account": "credentials_file"}.get(self.identity)
        for field in ("key_file", "credentials_file"):
            if field == needed and getattr(self, field) is None:
                yield Fault((field,), f"is required for identity {self.identity}")
            if field != needed and getattr(self, field):
                cure = f"; use {needed}:" if needed else ", which has no file; remove it"
                yield Fault((field,), f"is not for identity {self.identity}{cure}")
