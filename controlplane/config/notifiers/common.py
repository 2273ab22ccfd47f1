"""Fields that kinds of notifiers share, and the places of their secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, PrivateAttr, SecretStr

from controlplane.config.checking import Fault, check
from controlplane.config.remote import RemoteAccess
from controlplane.config.vocabulary import FilePath, HttpUrl, Model, Name, ProxySection, Text, TlsSection, has_user

INLINE = "(in alertmanager.yml)"
"""Stands in `X_env` of a section that was made of an `alertmanager.yml` with the secret in it."""
Language = Literal["en", "zh"]


def _base_url(value: str) -> str:
    if "?" in value or "#" in value or has_user(value):
        raise ValueError("expected an address without credentials, ? and #: paths are appended to it")
    return value


BaseUrl = Annotated[HttpUrl, AfterValidator(_base_url)]
"""Address of an API, to which paths are appended."""


class CommonNotifier(Model):
    """Fields of every kind of notifier."""

    name: Name
    on_call: Name | None = None
    """A rota. The messages go to whoever is on call; while nobody is, the rota's fallback gets them instead."""
    send_resolved: bool = True
    """Whether the receiver is told of resolved alerts."""
    _texts: object = PrivateAttr(default=None)
    _inline: Mapping[str, SecretStr] = PrivateAttr(default_factory=dict)

    @classmethod
    def with_secrets(cls, fields: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        """Return a section whose secrets come from an `alertmanager.yml`. fleet.yaml itself holds no secret.

        `secrets` has names of secrets, such as `token` for `token_env` and `token_file`, or `authorization` for the
        header's value. Raises pydantic's ValidationError.
        """
        stand_ins = {f"{name}_env": INLINE for name in secrets if f"{name}_env" in cls.model_fields}
        made = cls.model_validate({**fields, **stand_ins})
        made._inline = {name: SecretStr(value) for name, value in secrets.items()}
        return made

    @property
    def texts(self) -> object:
        """The receiver's own texts from an `alertmanager.yml`, an OwnTexts; None for none.

        The type is not named: alerting must not be imported by everything that reads fleet.yaml.
        """
        return self._texts

    def inline(self, name: str) -> SecretStr | None:
        """Return a secret that came from an `alertmanager.yml`."""
        return self._inline.get(name)


class SecretNotifier(CommonNotifier):
    """A notifier that needs a secret: one of `X_env` and `X_file`."""

    needs: ClassVar[str] = ""
    """X: the name of the secret's two fields, without `_env` and `_file`."""

    @check
    def _has_secret(self) -> Iterator[Fault]:
        name = self.needs
        if name and bool(getattr(self, f"{name}_env")) == bool(getattr(self, f"{name}_file")):
            yield Fault((), f"type {getattr(self, 'type')} needs one of {name}_env:, {name}_file:")  # noqa: B009


class PostedNotifier(CommonNotifier, RemoteAccess):
    """A notifier that posts over HTTP, with credentials, additional headers and TLS settings."""


class WebhookUrl(SecretNotifier, ProxySection):
    """A notifier whose address is its secret."""

    needs: ClassVar[str] = "url"

    url_env: Text | None = None
    url_file: FilePath | None = None
    tls: TlsSection | None = None
    language: Language = "en"
