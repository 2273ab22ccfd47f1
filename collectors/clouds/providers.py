"""The table of providers whose usage and costs can be read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from collectors.clouds.anthropic import ANTHROPIC
from collectors.clouds.openai import OPENAI
from collectors.clouds.report import Provider

PROVIDERS: Mapping[str, Provider] = MappingProxyType({each.name: each for each in (OPENAI, ANTHROPIC)})
"""Providers by name, which is the name of their engine kind."""
