"""The clouds whose metrics are read: the source of each target."""

from __future__ import annotations

from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.meters import AwsPlace, aws_source
from collectors.clouds.azure.meter import azure_source
from collectors.clouds.azure.token import Application
from collectors.clouds.google.meter import google_source
from collectors.target import Source, Target
from controlplane.app.recipe import Recipe
from controlplane.config.scraping.clouds import AwsSection
from controlplane.config.scraping.targets import TargetGroup


def cloud_recipe(target: Target, group: TargetGroup, max_body_bytes: int) -> Recipe[Source]:
    """Return the recipe of a target's source."""
    bounded = {"max_body_bytes": max_body_bytes}
    if group.aws:
        return Recipe(aws_source, (target.engine, target.url, _place(group.aws), target.auth), bounded)
    if group.google:
        key_file = str(group.google.key_file)
        return Recipe(google_source, (target.url, group.google.project, key_file, target.auth), bounded)
    assert group.azure is not None
    application = Application(group.azure.tenant, group.azure.client, group.azure.login)
    return Recipe(azure_source, (target.url, group.azure.resource, application, target.auth), bounded)


def _place(aws: AwsSection) -> AwsPlace:
    return AwsPlace(aws.region, KeyPlace(str(aws.credentials_file or ""), aws.profile), aws.costs)
