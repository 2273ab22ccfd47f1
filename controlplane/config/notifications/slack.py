"""`slack:` of fleet.yaml: buttons in Slack's messages, the ways of their clicks, and the people who may click."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import FilePath, HttpUrl, Model, Name, Text

_USER_ID = re.compile(r"[UW][A-Z0-9]{2,30}")


def _user_id(value: str) -> str:
    if not _USER_ID.fullmatch(value):
        raise ValueError("expected a person's id in Slack, such as U0123ABCD (in the person's profile: Copy member ID)")
    return value


SlackId = Annotated[str, AfterValidator(_user_id)]
"""A person's id in Slack."""


class SlackPerson(Model):
    """The identity of a person in Slack."""

    name: Name
    """Name of the person's token, so that a click and a command of one person count as one person."""
    role: Literal["viewer", "operator", "admin"] = "operator"


class SlackAppSection(Model):
    """The Slack app whose buttons act here. The tokens of the notifiers must be of the same app."""

    app_token_env: Text | None = None
    app_token_file: FilePath | None = None
    signing_secret_env: Text | None = None
    signing_secret_file: FilePath | None = None
    people: dict[SlackId, SlackPerson] = Field(default={})
    base_url: HttpUrl | None = None
    """Another address of the Web API (a proxy, a test server)."""

    @check
    def _has_a_way(self) -> Iterator[Fault]:
        if not (self.app_token_env or self.app_token_file or self.signing_secret_env or self.signing_secret_file):
            yield Fault((), "needs one of app_token_env:, app_token_file:, signing_secret_env:, signing_secret_file:")

    @check
    def _one_place_each(self) -> Iterator[Fault]:
        for name in ("app_token", "signing_secret"):
            if getattr(self, f"{name}_env") and getattr(self, f"{name}_file"):
                yield Fault((f"{name}_file",), f"{name}_env: is given too; the secret can have only one place")
