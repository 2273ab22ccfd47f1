"""Scrape classes: settings that monitors take over by a name. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from collectors.discovery.monitors.rule_words import Ask
from collectors.relabel import RelabelRule
from collectors.target import Auth
from controlplane.discovery.monitors.fields import Fields
from controlplane.discovery.monitors.rules import AskedRule


@dataclass(frozen=True)
class ScrapeClass:
    """A class. Its settings apply where a monitor has none of its own."""

    name: str = ""
    is_default: bool = False
    """Whether monitors that name no class have it."""
    auth: Auth | None = None
    relabel: tuple[RelabelRule, ...] = ()
    metric_relabel: tuple[RelabelRule, ...] = ()

    def rules(self) -> Iterator[AskedRule]:
        """Yield its rules for addresses, with words for those that drop one."""
        for number, rule in enumerate(self.relabel):
            yield AskedRule(rule, Ask(f"relabel_configs[{number}] of the scrape class {self.name} must keep it", False))

    def auth_of(self, own: Auth | None, tls: Fields) -> Auth | None:
        """Return the credentials and TLS settings of a monitor that has this class.

        As in the operator, credentials and an authority of the monitor's own take precedence, and with a `tlsConfig` of
        its own it decides alone whether certificates are checked, and by which name.
        """
        if self.auth is None:
            return own
        found = own or Auth()
        if not (found.inline or found.username is not None or found.issuer):
            found = replace(
                self.auth,
                ca_file=None,
                ca=found.ca,
                cert=found.cert,
                key=found.key,
                proxy=found.proxy,
                insecure_skip_verify=found.insecure_skip_verify,
                server_name=found.server_name,
            )
        found = replace(found, proxy=found.proxy or self.auth.proxy)
        if not found.ca:
            found = replace(found, ca_file=self.auth.ca_file)
        if found.cert:
            found = replace(found, cert_file=None, key_file=None)
        else:
            found = replace(found, cert_file=self.auth.cert_file, key_file=self.auth.key_file)
        if tls:
            return found
        return replace(found, insecure_skip_verify=self.auth.insecure_skip_verify, server_name=self.auth.server_name)


NO_CLASS = ScrapeClass()
Classes = tuple[ScrapeClass, ...] | None
"""The known classes. None: they do not matter."""


def class_of(spec: Fields, classes: Classes) -> ScrapeClass:
    """Return the class of a monitor. Raises FieldError for an unknown one."""
    name = spec.text("scrapeClass")
    if classes is None:
        return NO_CLASS
    if not name:
        return next((each for each in classes if each.is_default), NO_CLASS)
    found = next((each for each in classes if each.name == name), None)
    if found is None:
        raise spec.error("scrapeClass", f"{name!r} is none of scrape_classes: of prometheus_operator; define it there")
    return found
