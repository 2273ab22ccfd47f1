"""The clouds whose metrics are read: the place and the source of each target."""

from __future__ import annotations

from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.meters import AwsPlace, aws_source
from collectors.target import Source, Target
from controlplane.app.recipe import Recipe
from controlplane.config.scraping.targets import TargetGroup


def place_of(group: TargetGroup) -> AwsPlace:
    """Return where the metrics of an accepted group are."""
    assert group.aws is not None
    file = str(group.aws.credentials_file) if group.aws.credentials_file else ""
    return AwsPlace(group.aws.region, KeyPlace(file, group.aws.profile))


def cloud_recipe(target: Target, group: TargetGroup, max_body_bytes: int) -> Recipe[Source]:
    """Return the recipe of a target's source."""
    arguments = (target.engine, target.url, place_of(group), target.auth)
    return Recipe(aws_source, arguments, {"max_body_bytes": max_body_bytes})
