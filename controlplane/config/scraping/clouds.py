"""`targets[].aws`, `.azure` and `.google` of fleet.yaml: places of clouds' metrics, and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator

from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import FilePath, HttpUrl, Model, Text

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{1,12}){1,3}-[0-9]{1,2}")

_RESOURCE = re.compile(
    r"/subscriptions/[\w-]+/resourceGroups/[\w.()-]+/providers/Microsoft\.CognitiveServices/accounts/[\w-]+",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError("expected a region of AWS such as eu-west-1")
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
    credentials_file: FilePath | None = None
    """A shared credentials file. Default: the environment, AWS_ACCESS_KEY_ID and so on."""
    profile: Text = "default"
    """credentials_file only: the profile in it."""
    costs: bool = False
    """Whether costs are read from Cost Explorer, four times a day. AWS charges 0.01 USD for a request."""

    @check
    def _costs_are_in_dollars(self) -> Iterator[Fault]:
        if self.costs and self.region.startswith("cn-"):
            yield Fault(("costs",), "AWS in China has another Cost Explorer, which is not known here; remove it")


class AzureSection(Model):
    """An Azure OpenAI resource, and the application that may read its metrics."""

    tenant: Annotated[Text, AfterValidator(_identity)]
    client: Annotated[Text, AfterValidator(_identity)]
    """Id of the application. Its secret is under `authorization`."""
    resource: Annotated[Text, AfterValidator(_resource)]
    login: HttpUrl = "https://login.microsoftonline.com"
    """Base of the identity platform."""


class GoogleSection(Model):
    """A project at Google Cloud, and the service account that may read its metrics."""

    project: Annotated[Text, AfterValidator(_identity)]
    key_file: FilePath
    """The service account's key, in JSON."""
