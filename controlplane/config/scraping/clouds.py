"""`targets[].aws` of fleet.yaml: where a cloud keeps the metrics of hosted models, and the keys to them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from controlplane.config.vocabulary import FilePath, Model, Text

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{1,12}){1,3}-[0-9]{1,2}")


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError("expected a region of AWS such as eu-west-1")
    return value


class AwsSection(Model):
    """An account at AWS in one region."""

    region: Annotated[Text, AfterValidator(_region)]
    credentials_file: FilePath | None = None
    """A shared credentials file. Default: the environment, AWS_ACCESS_KEY_ID and so on."""
    profile: Text = "default"
    """credentials_file only: the profile in it."""
