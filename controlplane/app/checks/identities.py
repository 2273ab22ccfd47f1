"""Check the identities for clouds: keys, descriptions and tokens in files, and what the environment has to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from collectors.errors import ScrapeError
from controlplane.app.checks.findings import Findings
from controlplane.config.checking import Loc
from controlplane.config.loader import LoadedFleet
from controlplane.config.scraping.clouds import AwsSection, AzureSection, GoogleSection
from controlplane.config.scraping.targets import TargetGroup
from controlplane.config.vocabulary import whole


class _Read(NamedTuple):
    """Something that an identity needs, and the field that a fault in it belongs to."""

    field: str
    read: Callable[[], object]
    """Raises ScrapeError, which names the file or variable and the cure but no secret."""


def check_identities(loaded: LoadedFleet, findings: Findings) -> None:
    """Add warnings for identities that could not be used here. Blocking. Nobody is asked."""
    for number, group in enumerate(loaded.fleet.targets if loaded.fleet.reads("targets") else ()):
        for name, needed in _needed(group):
            loc: Loc = ("targets", number, name, needed.field)
            try:
                needed.read()
            except ScrapeError as error:
                findings.warn(loc, str(error))


def _needed(group: TargetGroup) -> Iterator[tuple[str, _Read]]:
    if group.reads("aws") and group.aws and whole(group.aws):
        yield from (("aws", each) for each in _aws(group.aws))
    if group.reads("azure") and group.azure and whole(group.azure):
        yield from (("azure", each) for each in _azure(group.azure))
    if group.reads("google") and group.google and whole(group.google):
        yield from (("google", each) for each in _google(group.google))


# Imported only where they are needed: the imports take long, and few files need them.


def _aws(section: AwsSection) -> Iterator[_Read]:
    from collectors.clouds.aws import container, web_identity
    from controlplane.app.targets.clouds import key_place

    match section.identity:
        case "access_key":
            yield _Read("credentials_file" if section.credentials_file else "identity", key_place(section).read)
        case "web_identity":
            yield _Read("identity", web_identity.question)
        case "container":
            yield _Read("identity", container.question)


def _azure(section: AzureSection) -> Iterator[_Read]:
    if section.identity == "workload_identity":
        from collectors.clouds.azure.token import workload_proof
        from controlplane.app.targets.clouds import azure_application

        application = azure_application(section)
        yield _Read("identity", application.names)
        yield _Read("identity", workload_proof)


def _google(section: GoogleSection) -> Iterator[_Read]:
    from collectors.clouds.google.key_file import external_account, service_account

    if section.key_file:
        key_file = str(section.key_file)
        yield _Read("key_file", lambda: service_account(key_file))
    if section.credentials_file:
        file = str(section.credentials_file)
        yield _Read("credentials_file", lambda: external_account(file).proof())
