"""Sources of addresses of a ScrapeConfig as settings of this project's sources. Pure.

Functions take (entry, defaults, secret, tell). They raise FieldError for an entry that cannot be used.
"""

from __future__ import annotations

from dataclasses import replace

from collectors.discovery.consul_sd import ConsulSd
from collectors.discovery.dns_sd import DnsSd, RecordType
from collectors.discovery.group import SdConfig
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.kubernetes_roles import Role, Selector, conflicts
from collectors.target import Auth
from controlplane.discovery.monitors import access
from controlplane.discovery.monitors.fields import Fields
from controlplane.discovery.monitors.made import Defaults, foreign, list_of, part_of, unread

_HTTP = ("url", "refreshInterval", *access.FIELDS)
_DNS = ("names", "refreshInterval", "type", "port")
_CONSUL = (
    "server", "pathPrefix", "tokenRef", "datacenter", "namespace", "partition", "scheme", "services", "tags",
    "tagSeparator", "nodeMeta", "filter", "allowStale", "refreshInterval", *access.FIELDS,
)  # fmt: skip
_KUBERNETES = ("role", "namespaces", "selectors", "attachMetadata", "apiServer", *access.FIELDS)
_MAX_NAMES = 100
"""Most names of a source of DNS (chosen): each is a question of its own."""


def http(entry: Fields, defaults: Defaults, secret: access.Secret, tell: access.Tell) -> SdConfig:
    """Return the settings of an entry of `httpSDConfigs`."""
    _tell_unread(entry, _HTTP, tell)
    url = access.http_url(entry, "url")
    return HttpSd(url, entry.seconds("refreshInterval", 60.0), access.auth_of(entry, secret, tell))


def dns(entry: Fields, defaults: Defaults, secret: access.Secret, tell: access.Tell) -> SdConfig:
    """Return the settings of an entry of `dnsSDConfigs`."""
    _tell_unread(entry, _DNS, tell)
    names, kind, port = entry.texts("names"), entry.text("type", "SRV").upper() or "SRV", entry.number("port")
    if not names or not all(names) or len(names) > _MAX_NAMES:
        raise entry.error("names", f"expected 1 to {_MAX_NAMES} names, none of them empty")
    if kind not in RecordType.__members__:
        raise entry.error("type", f"expected one of {', '.join(RecordType)}, got {kind!r}")
    if kind != RecordType.SRV and not 0 < port < 65536:
        raise entry.error("port", f"is required, from 1 to 65535, because records of the type {kind} have none")
    return DnsSd(names, RecordType(kind), port, entry.seconds("refreshInterval", 30.0))


def consul(entry: Fields, defaults: Defaults, secret: access.Secret, tell: access.Tell) -> SdConfig:
    """Return the settings of an entry of `consulSDConfigs`."""
    _tell_unread(entry, _CONSUL, tell)
    server, scheme = entry.text("server"), entry.text("scheme").lower() or "http"
    if not access.is_http(f"http://{server}/") or "/" in server:
        raise entry.error("server", "expected the host:port of an agent")
    if scheme not in ("http", "https"):
        raise entry.error("scheme", f"expected HTTP or HTTPS, got {entry.text('scheme')!r}")
    auth, meta = access.auth_of(entry, secret, tell), entry.fields("nodeMeta")
    if entry.fields("tokenRef"):
        if any(entry.fields(name) for name in ("authorization", "basicAuth", "oauth2")):
            raise entry.error("tokenRef", "cannot be given beside authorization, basicAuth and oauth2")
        auth = replace(auth or Auth(), inline=secret(entry, "tokenRef"))
    return ConsulSd(
        server,
        scheme,
        entry.text("pathPrefix"),
        entry.text("datacenter"),
        entry.text("namespace"),
        entry.text("partition"),
        entry.texts("services"),
        entry.texts("tags"),
        tuple(sorted((name, meta.text(name)) for name in meta.names())),
        entry.text("filter"),
        entry.text("tagSeparator") or ",",
        entry.flag("allowStale", True),
        entry.seconds("refreshInterval", 30.0),
        auth,
    )


def kubernetes(entry: Fields, defaults: Defaults, secret: access.Secret, tell: access.Tell) -> SdConfig:
    """Return the settings of an entry of `kubernetesSDConfigs`. They read the cluster of the monitors."""
    _tell_unread(entry, _KUBERNETES, tell)
    for name in ("apiServer", "basicAuth", "authorization", "oauth2", "tlsConfig", "proxyUrl"):
        if entry.get(name):
            raise entry.error(name, "is not supported: the cluster and the account of prometheus_operator are used")
    named = entry.text("role").lower()
    if named not in list(Role):
        raise entry.error("role", f"expected one of {', '.join(Role)}, got {entry.text('role')!r}")
    role = Role(named)
    selectors = tuple(_selector(each) for each in entry.items("selectors"))
    for _, sentence in conflicts(role, selectors, api_server="", kubeconfig="", has_access=False, own_namespace=False):
        raise entry.error("selectors", sentence)
    spaces = entry.fields("namespaces")
    if spaces.flag("ownNamespace", False):
        raise spaces.error("ownNamespace", "is not supported: this process need not be in the cluster; write names")
    names = tuple(dict.fromkeys(spaces.texts("names")))
    for sentence in foreign(names, spaces.at("names"), defaults):
        tell(sentence)
    with_nodes = entry.fields("attachMetadata").flag("node", False)
    whole = replace(list_of(role, defaults.at, with_nodes=with_nodes), selectors=selectors, with_waiting=False)
    return part_of(whole, names if names and role is not Role.NODE else None)


def _selector(one: Fields) -> Selector:
    role = one.text("role").lower()
    if role not in list(Role):
        raise one.error("role", f"expected one of {', '.join(Role)}, got {one.text('role')!r}")
    return Selector(Role(role), one.text("label"), one.text("field"))


def _tell_unread(entry: Fields, known: tuple[str, ...], tell: access.Tell) -> None:
    for sentence in unread(entry, known):
        tell(sentence)
