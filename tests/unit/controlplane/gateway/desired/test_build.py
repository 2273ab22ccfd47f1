"""The desired state that follows from a fleet.yaml, assignments and keys."""

from __future__ import annotations

from typing import Any

from controlplane.config.gateway import GatewaySection
from controlplane.config.models import ModelSection
from controlplane.gateway.desired.build import Split, build
from controlplane.gateway.desired.codec import decode, encode
from controlplane.gateway.desired.document import (
    BackendSpec,
    CacheSpec,
    CredentialsSpec,
    HedgeSpec,
    KeySpec,
    LimitSpec,
    MirrorSpec,
    ModelSpec,
    PriceSpec,
    QueueSpec,
    TenantSpec,
    TimeoutSpec,
)

ONE = {"url": "http://10.0.0.1:8000", "engine": "vllm"}
TWO = {"url": "http://10.0.0.2:8000", "engine": "vllm"}
TRITON = {"url": "http://10.0.0.3:8000"}


def model(driver: str, versions: dict[str, Any], **fields: Any) -> ModelSection:
    traffic = {"driver": driver, **fields.pop("traffic", {})}
    return ModelSection.model_validate(
        {"name": "chat", "stable": "v1", "traffic": traffic, "versions": versions, **fields}
    )


def served(*models: ModelSection, **fields: Any) -> tuple[ModelSpec, ...]:
    state = build(models, GatewaySection(), **fields)
    assert decode(encode(state)) == state
    return state.models


def weights(spec: ModelSpec) -> dict[str, int]:
    return {version.name: version.weight for version in spec.versions}


def test_a_model_on_driver_gateway_has_every_version_and_its_split() -> None:
    section = model("gateway", {"v1": {"backends": [ONE]}, "v2": {"backends": [TWO]}})
    (fresh,) = served(section)
    assert (fresh.generation, weights(fresh)) == (0, {"v1": 1000, "v2": 0})
    (split,) = served(section, splits={"chat": Split(7, {"v1": 950, "v2": 50})})
    assert (split.generation, weights(split)) == (7, {"v1": 950, "v2": 50})
    assert split.versions[1].backends == (BackendSpec("http://10.0.0.2:8000", "vllm", "chat"),)


def test_copies_of_an_assignment_come_before_those_of_the_file() -> None:
    versions = {"v1": {"backends": [ONE]}, "v2": {"backends": [TWO]}}
    section = model("gateway", versions, gateway={"mirror": {"version": "v2", "share": 0.25}})
    whole = {"v1": 1000}

    def copies(split: Split | None = None, of: ModelSection = section) -> MirrorSpec | None:
        (found,) = served(of, splits={} if split is None else {"chat": split})
        return found.mirror

    assert copies() == copies(Split(1, whole)) == MirrorSpec("v2", 0.25)
    assert copies(Split(1, whole, {"v1": 100})) == MirrorSpec("v1", 0.1)
    assert copies(Split(1, whole, {"v9": 100})) is None, "a version that left the file gets no copies"
    plain = model("gateway", versions)
    assert copies(Split(1, whole, {"v2": 1}), of=plain) == MirrorSpec("v2", 0.001)
    assert copies(Split(1, whole, {"v2": 0}), of=plain) is None
    unmoved = model("none", {"v1": {"backends": [ONE]}, "v2": {"backends": [TWO]}})
    assert copies(Split(1, whole, {"v2": 100}), of=unmoved) is None


def test_a_backend_has_a_limit_adapters_and_may_drain() -> None:
    one = {**ONE, "max_in_flight": 8, "adapters": ["law"], "draining": True}
    (found,) = served(model("gateway", {"v1": {"backends": [one, TWO]}}))
    assert found.versions[0].backends == (
        BackendSpec("http://10.0.0.1:8000", "vllm", "chat", max_in_flight=8, adapters=("law",), draining=True),
        BackendSpec("http://10.0.0.2:8000", "vllm", "chat"),
    )


def test_a_split_of_a_version_that_left_the_file_is_not_carried_out() -> None:
    section = model("gateway", {"v1": {"backends": [ONE]}})
    (found,) = served(section, splits={"chat": Split(7, {"v1": 500, "v2": 500})})
    assert (found.generation, weights(found)) == (7, {"v1": 1000})
    (of_store,) = served(section, stable={"chat": "v9"})
    assert weights(of_store) == {"v1": 1000}


def test_a_shared_triton_on_driver_gateway_is_asked_for_the_version_in_the_url() -> None:
    traffic = {"model": "llama", "backends": [TRITON]}
    (found,) = served(model("gateway", {"v1": {}, "v12": {"backends": [ONE]}}, traffic=traffic))
    v1, v12 = found.versions
    assert v1.backends == (BackendSpec("http://10.0.0.3:8000", "triton", "llama", "1"),)
    assert v12.backends == (
        BackendSpec("http://10.0.0.1:8000", "vllm", "llama"),
        BackendSpec("http://10.0.0.3:8000", "triton", "llama", "12"),
    )


def test_driver_triton_chooses_the_version_itself() -> None:
    section = model("triton", {"v1": {}, "v2": {}}, traffic={"backends": [TRITON]})
    (found,) = served(section, splits={"chat": Split(3, {"v2": 1000})}, stable={"chat": "v2"})
    assert (found.generation, weights(found)) == (0, {"v2": 1000})
    assert found.versions[0].backends == (BackendSpec("http://10.0.0.3:8000", "triton", "chat"),)


def test_driver_none_sends_everything_to_the_stable_version_and_testers_anywhere() -> None:
    (found,) = served(model("none", {"v1": {"backends": [ONE]}, "v2": {"backends": [TWO]}}))
    assert weights(found) == {"v1": 1000, "v2": 0}
    (shared,) = served(model("none", {"v1": {}, "v2": {"backends": [TWO]}}, traffic={"backends": [ONE]}))
    assert [(v.name, v.weight, v.backends[0].url) for v in shared.versions] == [
        ("v1", 1000, "http://10.0.0.1:8000"),
        ("v2", 0, "http://10.0.0.2:8000"),
    ]


def test_a_model_that_no_server_serves_is_left_out_also_as_a_substitute() -> None:
    nowhere = model("none", {"v1": {}})
    other = model(
        "none", {"v1": {"backends": [ONE]}}, name="other", gateway={"fallbacks": ["chat"], "degrade_to": None}
    )
    assert served(model("none", {"v1": {}, "v2": {"backends": [TWO]}})) == ()
    (found,) = served(nowhere, other)
    assert (found.name, found.fallbacks) == ("other", ())


def test_every_setting_of_a_model_arrives() -> None:
    asked = {
        "aliases": ["gpt-4"],
        "balance": "prefix",
        "fallbacks": ["small"],
        "degrade_to": "tiny",
        "limits": {"requests_per_minute": 1, "tokens_per_minute": 2, "concurrent": 3, "daily_tokens": 4},
        "price": {"input_usd": 1.5, "output_usd": 6, "cached_usd": 0.5},
        "queue": {"max_waiting": 5, "max_wait": "6s"},
        "timeouts": {"connect": "1s", "first_event": "2s", "idle": "3s", "total": "4s"},
        "retries": 1,
        "hedge": {"quantile": 0.9, "share": 0.01},
        "cache": {"ttl": "7s", "max_size": "1KB"},
        "mirror": {"version": "v2", "share": 0.25},
    }
    versions = {"v1": {"backends": [ONE]}, "v2": {"backends": [TWO]}}
    others = [model("none", versions, name=name) for name in ("small", "tiny")]
    found = served(model("gateway", versions, gateway=asked), *others)[0]
    assert found == ModelSpec(
        "chat",
        0,
        found.versions,
        aliases=("gpt-4",),
        balance="prefix",
        fallbacks=("small",),
        degrade_to="tiny",
        limits=LimitSpec(1, 2, 3, 4),
        price=PriceSpec(1.5, 6.0, 0.5),
        queue=QueueSpec(5, 6.0),
        timeouts=TimeoutSpec(1.0, 2.0, 3.0, 4.0),
        retries=1,
        hedge=HedgeSpec(0.9, 0.01),
        cache=CacheSpec(7.0, 1024),
        mirror=MirrorSpec("v2", 0.25),
    )


def test_settings_that_are_left_out_are_the_documents_defaults() -> None:
    (found,) = served(model("none", {"v1": {"backends": [ONE]}}))
    assert found == ModelSpec("chat", 0, found.versions)


def test_secrets_of_engines_go_by_name() -> None:
    def of(**access: Any) -> BackendSpec:
        return served(model("none", {"v1": {"backends": [{**ONE, **access}]}}))[0].versions[0].backends[0]

    header = {"type": "Token", "credentials_file": "/k"}
    assert of(authorization=header).credentials == CredentialsSpec("Token", "/k")
    assert of(authorization={"credentials_env": "KEY"}).credentials == CredentialsSpec(env="KEY")
    basic = {"username": "u", "password_file": "/p"}
    assert of(basic_auth=basic).credentials == CredentialsSpec(file="/p", username="u")
    tls = of(tls={"ca_file": "/ca", "insecure_skip_verify": True})
    assert (tls.ca_file, tls.insecure_skip_verify, tls.cert_file) == ("/ca", True, "")
    shown = of(tls={"cert_file": "/c", "key_file": "/k", "server_name": "chat.internal"})
    assert (shown.ca_file, shown.cert_file, shown.key_file, shown.server_name) == ("", "/c", "/k", "chat.internal")


def test_tenants_keys_and_authentication_arrive() -> None:
    section = GatewaySection.model_validate(
        {"authentication": "none", "tenants": {"search": {"weight": 2, "monthly_usd": 10}}}
    )
    keys = [KeySpec("k2", "1" * 64, "ads"), KeySpec("k1", "0" * 64, "search")]
    state = build([], section, keys=keys)
    assert state.tenants == (TenantSpec("search", LimitSpec(monthly_usd=10.0), 2.0),)
    assert ([key.id for key in state.keys], state.authentication) == (["k1", "k2"], False)
    assert state == build([], section, keys=keys[::-1])
    assert state.revision != build([], section, keys=keys[:1]).revision
