"""The verbs of the Grafana dashboards."""

from __future__ import annotations

from pathlib import Path

from controlplane.cli.verbs.grammar import Option, Verb
from controlplane.cli.verbs.options import DRY_RUN

_PROVISIONED_AT = "/var/lib/grafana/dashboards"
"""The same as dashboards.settings.PROVISIONED_AT, which this grammar does not import: every call reads it."""
_FLEET = Option(
    "config",
    "fleet.yaml whose thresholds and external_url the dashboards take over; by default the built-in thresholds.",
    "FILE",
    "-c",
    read=Path,
    offers="files",
)
_SET = Option(
    "set_",
    "Name of a set of dashboards beside others in the same Grafana, such as that of another fleet.",
    "NAME",
    default="",
)
_LANGUAGE = Option(
    "language", "Language of titles and descriptions: en or zh.", "CODE", default="en", choices=("en", "zh")
)
_GRAFANA = (
    Option("url", "Address of Grafana, with its path.", "URL", required=True),
    Option("token_env", "Environment variable that holds Grafana's token.", "NAME", default="GRAFANA_TOKEN"),
    _FLEET,
    _SET,
    _LANGUAGE,
    Option("ca_file", "Certificate authority that is trusted for Grafana.", "FILE", read=Path, offers="files"),
)

DASHBOARDS = (
    Verb(
        "dashboards generate",
        "files.dashboards:generate",
        "Write the Grafana dashboards as JSON, and the file by which Grafana provisions them.",
        options=(
            Option("out", "Folder to write to.", "DIR", read=Path, required=True, offers="folders"),
            _FLEET,
            _SET,
            _LANGUAGE,
            Option("seen_at", "The folder as Grafana sees it, to provision it.", "DIR", default=_PROVISIONED_AT),
            Option("check", "Write nothing; print the differences and end with status 1 if there are any."),
        ),
        examples=(
            ("dashboards generate --out grafana -c fleet.yaml", ""),
            ("dashboards generate --out grafana -c fleet.yaml --check", "in CI"),
        ),
    ),
    Verb(
        "dashboards diff",
        "files.dashboards:diff",
        "Print how the dashboards in a running Grafana differ from the generated ones.",
        options=_GRAFANA,
        examples=(("dashboards diff --url https://grafana.example.org --token-env GRAFANA_TOKEN", ""),),
        details="Ends with status 1 if there are differences.",
    ),
    Verb(
        "dashboards push",
        "files.dashboards:push",
        "Create or update the dashboards in a running Grafana.",
        options=(*_GRAFANA, DRY_RUN),
        examples=(("dashboards push --url https://grafana.example.org --token-env GRAFANA_TOKEN -c fleet.yaml", ""),),
        details="A dashboard is known by its uid. One that is as generated is left alone, and one that somebody changes"
        " at the same moment is not overwritten. The token is that of a service account with the role Editor.",
    ),
)
