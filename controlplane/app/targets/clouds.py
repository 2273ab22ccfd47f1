"""The clouds whose metrics are read: the source of each target."""

from __future__ import annotations

from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.meters import AwsPlace, aws_source
from collectors.clouds.azure.meter import azure_source
from collectors.clouds.azure.token import Application
from collectors.clouds.google.identities import GoogleIdentity
from collectors.clouds.google.meter import google_source
from collectors.target import Source, Target
from controlplane.app.recipe import Recipe
from controlplane.config.scraping.clouds import AwsSection, AzureSection, GoogleSection
from controlplane.config.scraping.targets import TargetGroup


def cloud_recipe(target: Target, group: TargetGroup, max_body_bytes: int) -> Recipe[Source]:
    """Return the recipe of a target's source."""
    bounded = {"max_body_bytes": max_body_bytes}
    if group.aws:
        return Recipe(aws_source, (target.engine, target.url, _place(group.aws), target.auth), bounded)
    if group.google:
        asked = (target.url, group.google.project, google_identity(group.google), target.auth)
        return Recipe(google_source, asked, {"billing_table": group.google.billing_table or "", **bounded})
    assert group.azure is not None
    azure = group.azure
    of_azure = (target.url, azure.resource, azure_application(azure), target.auth)
    return Recipe(azure_source, of_azure, {"costs": azure.costs, "quotas": azure.quotas, **bounded})


def azure_application(azure: AzureSection) -> Application:
    """Return who asks Azure."""
    return Application(azure.tenant or "", azure.client or "", azure.login, azure.identity)


def google_identity(google: GoogleSection) -> GoogleIdentity:
    """Return who asks Google."""
    return GoogleIdentity(google.identity, str(google.key_file or google.credentials_file or ""))


def key_place(aws: AwsSection) -> KeyPlace:
    """Return where the access key is."""
    return KeyPlace(str(aws.credentials_file or ""), aws.profile)


def _place(aws: AwsSection) -> AwsPlace:
    return AwsPlace(aws.region, key_place(aws), aws.costs, aws.identity, tuple(sorted(aws.quotas.items())))
