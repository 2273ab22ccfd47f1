"""Addresses of the clouds' APIs for metrics. Pure, and light: a check of fleet.yaml needs them without a client."""

from __future__ import annotations

AZURE_URL = "https://management.azure.com"
BIGQUERY_URL = "https://bigquery.googleapis.com"
GOOGLE_URL = "https://monitoring.googleapis.com"


def aws_url(host: str, region: str) -> str:
    """Return the base of one of AWS's APIs in a region. `host` is the first part of its host names."""
    return f"https://{host}.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def cloudwatch_url(region: str) -> str:
    """Return the base of CloudWatch's API in a region."""
    return aws_url("monitoring", region)
