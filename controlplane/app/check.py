"""What `controlplane check` looks at: the file, its rules and probes, and the secrets that it names."""

from __future__ import annotations

import os
from pathlib import Path

from alerts.rules import duplicates
from collectors.discovery import Discovery
from collectors.errors import DiscoveryError
from controlplane.app.metrics_elsewhere import unshipped
from controlplane.app.rules import fleet_rules, unsupported
from controlplane.app.targets import plan_scraping
from controlplane.config.loader import LoadedFleet, line_of, load_fleet
from controlplane.config.remote import endpoint_name
from controlplane.config.vocabulary import Access
from controlplane.errors import ConfigError, ConfigErrors
from controlplane.rollout.verification import verifications
from controlplane.store.database import Database


def check_file(path: Path) -> list[str]:
    """Return sentences on a good fleet.yaml, warnings included. Raises ConfigErrors for a bad one."""
    loaded = load_fleet(path)
    faults: list[ConfigError] = []
    rules = targets = 0
    warnings: list[str] = []
    try:
        groups = fleet_rules(loaded)
        rules = sum(len(group.rules) for group in groups)
        metrics = loaded.fleet.metrics
        here = [] if metrics.query_url else unsupported(groups)
        warnings += [*duplicates(groups), *here, *unshipped(metrics, groups)]
    except ConfigErrors as error:
        faults += error.errors
    try:
        discovery = Discovery(plan_scraping(loaded).groups, path.parent)
        targets = len(discovery.refresh())
        warnings += [str(error) for error in discovery.errors]
    except ConfigErrors as error:
        faults += error.errors
    except DiscoveryError as error:
        faults.append(ConfigError(str(error), file=path, field="targets"))
    try:
        if loaded.fleet.database:
            Database(loaded.fleet.database).close()
    except ConfigError as error:
        line = line_of(path, ["database"])
        faults.append(ConfigError(error.reason, file=path, line=line, field="database"))
    if faults:
        raise ConfigErrors(faults)
    counts = [(targets, "target"), (len(loaded.fleet.models), "model"), (rules, "rule")]
    good = f"{path}: good: " + ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts)
    found = [*warnings, *_untried(loaded), *_missing_secrets(loaded)]
    return [good, *(f"{path}: warning: {warning}" for warning in found)]


def _untried(loaded: LoadedFleet) -> list[str]:
    """Return a sentence for each model whose new versions would be loaded and asked nothing."""
    how, fleet = verifications(loaded.fleet), loaded.fleet
    return [
        f"model {model.name}: a new version will be loaded and not tried: give the model a verify:, or a probe of "
        f"…/v2/models/{model.traffic.model or model.name}/generate_stream"
        for model in fleet.models
        if model.traffic.driver == "triton" and model.verify is None and how[model.name].check.question is None
    ]


def _missing_secrets(loaded: LoadedFleet) -> list[str]:
    found = []
    for notifier in loaded.fleet.notifiers:
        if notifier.token_env and notifier.token_env not in os.environ:
            found.append(f"notifier {notifier.name}: environment variable {notifier.token_env} is not set here")
        if notifier.token_file and not notifier.token_file.exists():
            found.append(f"notifier {notifier.name}: {notifier.token_file} does not exist")
    metrics = loaded.fleet.metrics
    found += _missing_of("metrics.query", metrics.query)
    for endpoint in metrics.remote_write:
        found += _missing_of(f"metrics.remote_write {endpoint_name(endpoint)}", endpoint)
    return found


def _missing_of(place: str, access: Access) -> list[str]:
    header, basic, tls = access.authorization, access.basic_auth, access.tls
    files = (header and header.credentials_file, basic and basic.password_file, tls and tls.ca_file)
    found = [f"{place}: {path} does not exist" for path in files if path and not path.exists()]
    if header and header.credentials_env and header.credentials_env not in os.environ:
        found.append(f"{place}: environment variable {header.credentials_env} is not set here")
    return found
