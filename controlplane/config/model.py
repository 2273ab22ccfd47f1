"""The fields of fleet.yaml. Sections are frozen and refuse unknown fields. The loader adds file and line to errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from controlplane.config import addresses
from controlplane.config.backup.faults import backup_faults
from controlplane.config.backup.section import BackupSection
from controlplane.config.checking import Fault, check
from controlplane.config.gateway import GatewaySection
from controlplane.config.models import ModelSection, circle
from controlplane.config.notifications.people import PersonSection, RotaSection, rota_faults
from controlplane.config.notifications.routes import (
    InhibitSection,
    NotificationsSection,
    RouteSection,
    TimeIntervalSection,
    route_faults,
)
from controlplane.config.notifications.slack import SlackAppSection
from controlplane.config.notifiers import NotifierSection
from controlplane.config.packs import NoDataPolicy, Owner, ThresholdSection
from controlplane.config.remote import Query, RemoteWrite, ServerUrl, endpoint_name, query_address
from controlplane.config.rollout.section import RolloutsSection
from controlplane.config.schedules import HousekeepingSection, UsageReportSection
from controlplane.config.scraping.targets import PathPattern, TargetGroup
from controlplane.config.vocabulary import (
    Duration,
    HttpUrl,
    Interval,
    Model,
    Name,
    Network,
    Text,
    size_bytes,
)
from controlplane.config.wording import not_one_of


class FleetSection(Model):
    """The fleet's name and address."""

    name: Name
    external_url: HttpUrl | None = None
    """Address of the console for people. Links in messages use it, and the server accepts its host name."""


class ScrapeSection(Model):
    """Settings of scrapes, and limits that keep one target from harming the others."""

    interval: Interval = 15.0
    timeout: Interval | None = None
    """Default: 10s, or the interval if it is shorter."""
    max_body_bytes: int = Field(default=16 * 2**20, gt=0)
    max_samples: int = Field(default=100_000, gt=0)

    @check
    def _timeout_fits(self) -> Iterator[Fault]:
        if self.timeout is not None and self.timeout > self.interval:
            yield Fault(("timeout",), f"{self.timeout:g}s is longer than interval ({self.interval:g}s)")

    @property
    def timeout_s(self) -> float:
        """Effective timeout, in seconds."""
        return min(10.0, self.interval) if self.timeout is None else self.timeout


class BudgetSection(Model):
    """Monthly budget of a model, or of an account at a provider."""

    model: Text | None = None
    account: Text | None = None
    """Job of a target that reads an account."""
    monthly_usd: float = Field(gt=0)

    @check
    def _is_of_one(self) -> Iterator[Fault]:
        if bool(self.model) == bool(self.account):
            yield Fault((), "needs one of model:, account:")


class Cost(Model):
    """Prices and budgets. The ledger counts the GPU hours of a model's backends while they are up."""

    gpu_hour_usd: float = Field(ge=0)
    budgets: tuple[BudgetSection, ...] = ()


class Receive(Model):
    """Limits of remote write: of one request, and of all series that remote writers keep active."""

    max_body_bytes: int = Field(default=16 * 2**20, ge=1024)
    max_decoded_bytes: int = Field(default=32 * 2**20, ge=1024)
    max_series: int = Field(default=50_000, ge=1)
    max_samples: int = Field(default=200_000, ge=1)
    max_written_series: int = Field(default=200_000, ge=1)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class Metrics(Model):
    """The embedded series store, and the metrics servers beside it."""

    retention: Annotated[Duration, Field(ge=60)] = 24 * 3600.0
    retention_recorded: Annotated[Duration, Field(ge=60)] = 35 * 86400.0
    receive: Receive = Receive()
    retention_size: Annotated[int, BeforeValidator(size_bytes), Field(ge=0)] = 0
    """Maximum size of all samples on disk. The oldest are deleted first. 0: no limit but the retention."""
    max_series: int = Field(default=1_000_000, gt=0, strict=True)
    max_series_per_target: int = Field(default=50_000, gt=0, strict=True)
    """New series beyond a limit are refused and counted; existing series are still stored."""
    query_workers: int | None = Field(default=None, ge=1, le=16, strict=True)
    """Maximum number of processes for queries of the HTTP API. Default: the number of cores, but 2 to 4."""
    query_url: Annotated[ServerUrl, AfterValidator(query_address)] | None = None
    """Address of a Prometheus-compatible server that answers all queries instead of the embedded store."""
    query: Query = Query()
    remote_write: Annotated[tuple[RemoteWrite, ...], BeforeValidator(_listed)] = ()

    @check
    def _query_has_an_address(self) -> Iterator[Fault]:
        if self.query_url is None and self.query != Query():
            yield Fault(("query",), "needs query_url:, which is not set")

    @check
    def _endpoints_differ(self) -> Iterator[Fault]:
        seen: set[str] = set()
        for number, endpoint in enumerate(self.remote_write):
            if not endpoint.reads("name", "url"):
                continue
            if (name := endpoint_name(endpoint)) in seen:
                yield Fault(("remote_write", number), f"another endpoint has the name {name} too; set another name:")
            seen.add(name)


LOG = "log"
"""Name of the notifier that always exists."""


class Fleet(Model):
    """The whole fleet.yaml."""

    fleet: FleetSection
    scrape: ScrapeSection = ScrapeSection()
    targets: tuple[TargetGroup, ...] = ()
    rules: tuple[PathPattern, ...] = ("builtin:llm", "builtin:gpu")
    evaluation_interval: Annotated[Duration, Field(ge=1)] = 15.0
    thresholds: dict[str, ThresholdSection] = Field(default={})
    no_data: dict[str, NoDataPolicy] = Field(default={})
    owners: dict[str, Owner] = Field(default={})
    notifiers: tuple[NotifierSection, ...] = ()
    route: RouteSection | None = None
    inhibit_rules: tuple[InhibitSection, ...] = ()
    time_intervals: tuple[TimeIntervalSection, ...] = ()
    notifications: NotificationsSection = NotificationsSection()
    models: tuple[ModelSection, ...] = ()
    rollouts: RolloutsSection = RolloutsSection()
    slack: SlackAppSection | None = None
    people: dict[Name, PersonSection] = Field(default={})
    rotas: tuple[RotaSection, ...] = ()
    gateway: GatewaySection = GatewaySection()
    cost: Cost | None = None
    metrics: Metrics = Metrics()
    usage_report: UsageReportSection | None = None
    housekeeping: HousekeepingSection = HousekeepingSection()
    backup: BackupSection | None = None
    database: Text | None = None
    trusted_proxies: tuple[Network, ...] = ()
    """Proxies whose X-Forwarded-For or Forwarded header is trusted as the client's address."""

    @check
    def _models_differ(self) -> Iterator[Fault]:
        yield from _taken("models", [m.name if m.reads("name") else None for m in self.models])

    @check
    def _models_have_traffic_of_their_own(self) -> Iterator[Fault]:
        owners: dict[str, str] = {}
        for number, model in enumerate(self.models):
            for at, thing in model.traffic.claims(model.name):
                owner = owners.setdefault(thing, model.name)
                if owner != model.name:
                    yield Fault(("models", number, "traffic", *at), f"{thing} already belongs to model {owner}")

    @check
    def _notifiers_differ(self) -> Iterator[Fault]:
        yield from _taken("notifiers", [n.name if n.reads("name") else None for n in self.notifiers])

    @check
    def _rotas_fit(self) -> Iterator[Fault]:
        yield from rota_faults(self.rotas, self.notifiers, self._receivers())

    @check
    def _receiver_exists(self) -> Iterator[Fault]:
        if self.route:
            names = [interval.name for interval in self.time_intervals if interval.reads("name")]
            for place, sentence in route_faults(self.route, self._receivers(), names):
                yield Fault(("route", *place), sentence)

    @check
    def _intervals_differ(self) -> Iterator[Fault]:
        yield from _taken("time_intervals", [one.name if one.reads("name") else None for one in self.time_intervals])

    @check
    def _one_routing(self) -> Iterator[Fault]:
        if self.notifications.reads("alertmanager_config") and self.notifications.alertmanager_config is not None:
            for field in ("route", "inhibit_rules", "time_intervals"):
                if getattr(self, field):
                    yield Fault((field,), "is in notifications.alertmanager_config; leave it out here")

    @check
    def _reports_receiver_exists(self) -> Iterator[Fault]:
        if self.usage_report and self.usage_report.receiver is not None:
            yield from self._unknown_receiver("usage_report", self.usage_report.receiver)

    def _unknown_receiver(self, section: str, receiver: str) -> Iterator[Fault]:
        known = self._receivers()
        if receiver not in known:
            yield Fault((section, "receiver"), not_one_of(receiver, "notifiers", known))

    def _receivers(self) -> list[str]:
        return sorted({*(notifier.name for notifier in self.notifiers), LOG})

    @check
    def _timeouts_fit(self) -> Iterator[Fault]:
        for number, group in enumerate(self.targets):
            if not group.reads("interval", "timeout") or not group.timeout:
                continue
            interval = group.interval or self.scrape.interval
            if group.timeout > interval:
                sentence = f"{group.timeout:g}s is longer than the interval ({interval:g}s)"
                yield Fault(("targets", number, "timeout"), sentence)

    @check
    def _aliases_differ(self) -> Iterator[Fault]:
        owners = {model.name: model.name for model in self.models if model.reads("name")}
        for number, model in enumerate(self.models):
            if not model.reads("name", "gateway"):
                continue
            for at, alias in enumerate(model.gateway.aliases):
                if alias in owners:
                    yield Fault(("models", number, "gateway", "aliases", at), f"{alias} already names {owners[alias]}")
                owners[alias] = model.name

    @check
    def _backends_are_not_the_gateway(self) -> Iterator[Fault]:
        """A gateway that sends requests to itself would send each one round until nothing is left to send it with."""
        for number, model in enumerate(self.models):
            for at, backend in model.backends() if model.reads("traffic", "versions") else ():
                for field in ("listen", "admin"):
                    if backend.reads("url") and addresses.leads_to(backend.url, getattr(self.gateway, field)):
                        sentence = f"{backend.url} is the gateway's own address (gateway.{field}); give the server's"
                        yield Fault(("models", number, *at, "url"), sentence)

    @check
    def _substitutes_are_models(self) -> Iterator[Fault]:
        names = [model.name for model in self.models]
        for number, model in enumerate(self.models):
            for field, named in model.substitutes():
                if named not in names:
                    yield Fault(("models", number, "gateway", *field), not_one_of(named, "models", names))
                elif named == model.name:
                    yield Fault(("models", number, "gateway", *field), "is the model itself; name another one")

    @check
    def _substitutes_end(self) -> Iterator[Fault]:
        """A request that degrades or falls back must not come back to its first model."""
        for field in ("fallbacks", "degrade_to"):
            chosen = {model.name: [n for at, n in model.substitutes() if at[0] == field] for model in self.models}
            for number, model in enumerate(self.models):
                if model.name not in chosen[model.name] and (path := circle(model.name, chosen)):
                    yield Fault(("models", number, "gateway", field), f"leads back to itself: {' -> '.join(path)}")

    @check
    def _earlier_models_exist(self) -> Iterator[Fault]:
        names = [model.name for model in self.models if model.reads("name")]
        for number, model in enumerate(self.models):
            for at, earlier in enumerate(model.after()):
                place = ("models", number, "rollout", "after", at)
                if earlier not in names:
                    yield Fault(place, not_one_of(earlier, "models", names))
                elif model.reads("name") and earlier == model.name:
                    yield Fault(place, "is the model itself; name another one")

    @check
    def _order_of_models_ends(self) -> Iterator[Fault]:
        earlier = {model.name: model.after() for model in self.models}
        for number, model in enumerate(self.models):
            if model.name not in earlier[model.name] and (path := circle(model.name, earlier)):
                yield Fault(("models", number, "rollout", "after"), f"leads back to itself: {' -> '.join(path)}")

    @check
    def _frozen_models_exist(self) -> Iterator[Fault]:
        names = [model.name for model in self.models]
        for number, window in enumerate(self.rollouts.freeze):
            for at, name in enumerate(window.models if window.reads("models") else ()):
                if name not in names:
                    yield Fault(("rollouts", "freeze", number, "models", at), not_one_of(name, "models", names))

    @check
    def _backups_fit_the_fleet(self) -> Iterator[Fault]:
        yield from backup_faults(self.backup, self.rollouts, self.models)

    @check
    def _budgets_have_models(self) -> Iterator[Fault]:
        names = sorted({model.name for model in self.models})
        for number, budget in enumerate(self.cost.budgets if self.cost else ()):
            if budget.reads("model") and budget.model and budget.model not in names:
                place = ("cost", "budgets", number, "model")
                yield Fault(place, not_one_of(budget.model, "models", names))

    @check
    def _budgets_have_accounts(self) -> Iterator[Fault]:
        if not all(group.reads("engine") and group.reads("labels") for group in self.targets):
            return
        accounts = sorted({group.bill for group in self.targets if group.bill})
        for number, budget in enumerate(self.cost.budgets if self.cost else ()):
            if budget.reads("account") and budget.account and budget.account not in accounts:
                place = ("cost", "budgets", number, "account")
                kinds = "accounts (targets with the engine openai or anthropic, or of a cloud whose costs are read)"
                yield Fault(place, not_one_of(budget.account, kinds, accounts))

    @check
    def _budgets_differ(self) -> Iterator[Fault]:
        budgets = self.cost.budgets if self.cost else ()
        for field in ("model", "account"):
            names = [getattr(budget, field) if budget.reads(field) else None for budget in budgets]
            yield from (Fault(("cost", *f.loc[:-1], field), f.sentence) for f in _taken("budgets", names))


def _taken(field: str, names: Iterable[str | None]) -> Iterator[Fault]:
    """Yield a fault for each name that repeats an earlier one. None stands for a name that could not be read."""
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if name is not None and first.setdefault(name, number) != number:
            yield Fault((field, number, "name"), f"{name!r} is taken by {field}[{first[name]}]")
