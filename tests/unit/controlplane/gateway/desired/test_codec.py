"""A desired state survives the way to JSON and back, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.desired.codec import MAX_BYTES, MAX_CHARS, decode, encode, sealed
from controlplane.gateway.desired.document import (
    BackendSpec,
    CacheSpec,
    CredentialsSpec,
    Desired,
    HedgeSpec,
    KeySpec,
    LimitSpec,
    MirrorSpec,
    ModelSpec,
    PriceSpec,
    QueueSpec,
    TenantSpec,
    TimeoutSpec,
    VersionSpec,
)
from controlplane.gateway.errors import BadDesired

NAMES = st.text("abcdefghij0123456789-_.é漢", min_size=1, max_size=12)
COUNTS = st.none() | st.integers(1, 2**53)
MONEY = st.none() | st.floats(0.001, 1e9, allow_nan=False)
SECONDS = st.floats(0.001, 1e6)
LIMITS = st.builds(LimitSpec, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, MONEY, MONEY)
CREDENTIALS = st.builds(CredentialsSpec, scheme=NAMES, file=NAMES, username=NAMES | st.just("")) | st.builds(
    CredentialsSpec, env=NAMES
)
BACKENDS = st.builds(
    BackendSpec,
    url=st.sampled_from(("http://10.0.0.1:8000", "https://[::1]:443/v", "http://engine")),
    engine=st.sampled_from(("vllm", "triton")),
    served_model=NAMES,
    path_version=st.sampled_from(("", "2")),
    credentials=st.none() | CREDENTIALS,
    ca_file=NAMES | st.just(""),
    cert_file=NAMES | st.just(""),
    key_file=NAMES | st.just(""),
    server_name=NAMES | st.just(""),
    insecure_skip_verify=st.booleans(),
    max_in_flight=st.integers(0, 10_000),
    adapters=st.lists(NAMES, max_size=3).map(tuple),
    draining=st.booleans(),
)


@st.composite
def models(draw: st.DrawFn, name: str) -> ModelSpec:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, 1000), min_size=len(names) - 1, max_size=len(names) - 1)))
    weights = [high - low for low, high in zip([0, *cuts], [*cuts, 1000], strict=True)]
    backends = st.lists(BACKENDS, max_size=3).map(tuple)
    versions = tuple(VersionSpec(n, w, draw(backends)) for n, w in zip(names, weights, strict=True))
    mirror = st.builds(MirrorSpec, st.sampled_from(names), st.floats(0.001, 1.0))
    return ModelSpec(
        name=name,
        generation=draw(st.integers(0, 2**53)),
        versions=versions,
        aliases=(f"{name}:alias",) if draw(st.booleans()) else (),
        balance=draw(st.sampled_from(("least-outstanding", "two-choices", "prefix"))),
        fallbacks=draw(st.lists(NAMES, max_size=2).map(tuple)),
        degrade_to=draw(NAMES | st.just("")),
        limits=draw(LIMITS),
        price=PriceSpec(draw(st.floats(0, 100)), draw(st.floats(0, 100)), draw(MONEY)),
        queue=QueueSpec(draw(st.integers(0, 10**6)), draw(st.floats(0, 1e6))),
        timeouts=TimeoutSpec(draw(SECONDS), draw(SECONDS), draw(SECONDS), draw(st.none() | SECONDS)),
        retries=draw(st.integers(0, 10)),
        hedge=draw(st.none() | st.builds(HedgeSpec, st.floats(0.51, 0.99), st.floats(0.001, 0.2))),
        cache=draw(st.none() | st.builds(CacheSpec, SECONDS, st.integers(1, 2**40))),
        mirror=draw(st.none() | mirror),
        paths=draw(st.lists(st.sampled_from(("/a", "/b/*", "/c/d.e")), max_size=2).map(tuple)),
    )


@st.composite
def states(draw: st.DrawFn) -> Desired:
    named = draw(st.lists(NAMES, max_size=3, unique=True))
    ids = draw(st.lists(NAMES, max_size=3, unique=True))
    tenants = draw(st.lists(NAMES, max_size=3, unique=True))
    return Desired(
        revision=draw(NAMES),
        models=tuple(draw(models(name)) for name in named),
        keys=tuple(
            KeySpec(
                id=key,
                digest=draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
                tenant=draw(NAMES),
                role=draw(st.sampled_from(("user", "tester"))),
                models=draw(st.none() | st.lists(NAMES, max_size=2).map(tuple)),
                expires_at=draw(st.none() | st.floats(0, 1e11)),
                limits=draw(LIMITS),
                priority=draw(st.integers(-5, 5)),
            )
            for key in ids
        ),
        tenants=tuple(TenantSpec(name, draw(LIMITS), draw(st.floats(0.01, 10))) for name in tenants),
        shares=draw(st.dictionaries(NAMES, st.floats(0, 1), max_size=3)),
        authentication=draw(st.booleans()),
    )


@given(states())
def test_a_state_is_read_as_it_was_written(state: Desired) -> None:
    assert decode(encode(state)) == state


@given(states())
def test_the_revision_is_of_the_content_alone(state: Desired) -> None:
    assert sealed(state).revision == sealed(sealed(state)).revision
    assert len(sealed(state).revision) == 32


VLLM = BackendSpec("http://10.0.0.1:8000", "vllm", "llama")
CHAT = ModelSpec("chat", 1, (VersionSpec("v1", 900, (VLLM,)), VersionSpec("v2", 100, (VLLM,))))
STATE = Desired("r", (CHAT,), (KeySpec("k1", "0" * 64, "search"),))


def test_another_weight_is_another_revision() -> None:
    moved = ModelSpec("chat", 1, (VersionSpec("v1", 899, (VLLM,)), VersionSpec("v2", 101, (VLLM,))))
    assert sealed(STATE).revision != sealed(Desired("r", (moved,), STATE.keys)).revision


def test_a_stored_document_of_format_1_keeps_its_meaning() -> None:
    """Left out fields have the defaults of format 1. A release that changes a default must raise the format."""
    stored = {
        "format": 1,
        "revision": "r",
        "models": [
            {
                "name": "chat",
                "generation": 1,
                "versions": [
                    {
                        "name": "v1",
                        "weight": 1000,
                        "backends": [{"url": "http://10.0.0.1:8000", "engine": "vllm", "served_model": "llama"}],
                    }
                ],
            }
        ],
        "keys": [{"id": "k1", "digest": "0" * 64, "tenant": "search"}],
        "tenants": [{"name": "search"}],
    }
    read = decode(json.dumps(stored).encode())
    (model,), (key,), (tenant,) = read.models, read.keys, read.tenants
    assert (read.shares, read.authentication) == ({}, True)
    assert (model.aliases, model.balance, model.fallbacks, model.degrade_to) == ((), "least-outstanding", (), "")
    assert (model.retries, model.hedge, model.cache, model.mirror) == (2, None, None, None)
    assert (model.queue.max_waiting, model.queue.max_wait_s) == (1000, 30.0)
    assert model.timeouts == TimeoutSpec(3.0, 300.0, 120.0, None)
    assert (model.price.input_usd, model.price.output_usd, model.price.cached_usd) == (0.0, 0.0, None)
    assert (key.role, key.models, key.expires_at, key.priority) == ("user", None, None, 0)
    assert model.limits == key.limits == tenant.limits == LimitSpec(None, None, None, None, None, None, None)
    assert tenant.weight == 1.0
    backend = model.versions[0].backends[0]
    assert backend == BackendSpec("http://10.0.0.1:8000", "vllm", "llama", "", None, "", False, 0, (), False)


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(encode(STATE)), **fields}).encode()


def with_model(**fields: Any) -> bytes:
    model = {**json.loads(encode(STATE))["models"][0], **fields}
    return changed(models=[model])


def with_backend(**fields: Any) -> bytes:
    backend = {"url": "http://a:1", "engine": "vllm", "served_model": "m", **fields}
    return with_model(versions=[{"name": "v1", "weight": 1000, "backends": [backend]}])


def with_key(**fields: Any) -> bytes:
    return changed(keys=[{"id": "k1", "digest": "0" * 64, "tenant": "search", **fields}])


V1 = {"name": "v1", "weight": 1000, "backends": []}
REFUSED = (
    (b"", "the document is not JSON"),
    (b"\xff{}", "the document is not JSON"),
    (b"[" * 100_000, "the document is not JSON"),
    (b'{"format": 1, "revision": "a", "revision": "b"}', "an object has 'revision' twice"),
    (b'{"format": 1, "revision": "a", "shares": {"a": NaN}}', "NaN is not a JSON number"),
    (b"[]", "the document is []; expected an object"),
    (b"{}", "format: expected a number from 1, got None"),
    (changed(format=True), "format: expected a number from 1, got True"),
    (changed(format="1"), "format: expected a number from 1, got '1'"),
    (
        changed(format=2),
        "the document is of format 2, and this gateway knows 1: a newer control plane made it; upgrade the gateway",
    ),
    (b'{"format": 1}', "revision: is missing"),
    (changed(revision=""), "revision: is empty"),
    (changed(revision=None), "revision: expected a text, got None"),
    (changed(colour="red"), "colour: this gateway does not know the field"),
    (changed(models={}), "models: expected a list, got {}"),
    (changed(models=["chat"]), "models[0]: expected an object, got 'chat'"),
    (changed(authentication=1), "authentication: expected true or false, got 1"),
    (changed(shares={"a": 1.5}), "shares.a: expected a share from 0 to 1, got 1.5"),
    (changed(shares={"a": 10**400}), "shares.a: 1"),
    (with_model(name=""), "models: an entry has an empty name"),
    (with_model(generation=1.0), "models[0].generation: expected a whole number, got 1.0"),
    (with_model(generation=-1), "models.chat.generation: expected a number from 0, got -1"),
    (with_model(generation=2**60), "models[0].generation: 1152921504606846976 is out of range"),
    (with_model(balance="random"), "models.chat.balance: expected one of least-outstanding, two-choices, prefix"),
    (with_model(versions=[]), "models.chat.versions: expected 1 to 64 versions, got 0"),
    (with_model(versions=[{**V1, "weight": 999}]), "models.chat.versions: the weights add up to 999; expected 1000"),
    (with_model(versions=[{**V1, "weight": 1001}]), "models.chat.versions.v1.weight: expected 0 to 1000, got 1001"),
    (with_model(versions=[V1, {**V1, "weight": 0}]), "models.chat.versions: v1 is listed twice"),
    (with_model(versions=[{"name": "v1"}]), "models[0].versions[0].weight: is missing"),
    (with_model(aliases=["chat"]), "models.chat.aliases: chat already names chat"),
    (with_model(aliases=["a", "a"]), "models.chat.aliases: a already names chat"),
    (with_model(aliases=["a" * (MAX_CHARS + 1)]), f"models[0].aliases[0]: has {MAX_CHARS + 1} characters"),
    (with_model(mirror={"version": "v9", "share": 0.1}), "models.chat.mirror.version: v9 is no version of the model"),
    (with_model(mirror={"version": "v1", "share": 0}), "models.chat.mirror.share: expected above 0"),
    (with_model(timeouts={"connect_s": 0}), "models.chat.timeouts.connect_s: expected above 0, got 0"),
    (with_model(paths=["/a", "/sleep"]), "models.chat.paths: /sleep administers the engine"),
    (with_model(aliases=[""]), "models.chat.aliases: '' is empty; give a name"),
    (with_model(retries=-1), "models.chat.retries: expected 0 or more, got -1"),
    (with_model(hedge={"quantile": 1.0}), "models.chat.hedge.quantile: expected a number between 0 and 1, got 1"),
    (with_model(limits={"concurrent": 0}), "models.chat.limits.concurrent: expected above 0, got 0"),
    (with_backend(url="ftp://a:1"), "models.chat.versions.v1.backends[0].url: expected http://host:port"),
    (with_backend(url="http://a:99999"), "models.chat.versions.v1.backends[0].url: expected http://host:port"),
    (with_backend(url="http://a:1\r\nX: y"), "holds a control character"),
    (with_backend(served_model="\ud800"), "holds a control character"),
    (with_backend(served_model=""), "models.chat.versions.v1.backends[0].served_model: '' is empty; give a name"),
    (with_backend(adapters=("a\u200b",)), "models.chat.versions.v1.backends[0].adapters: 'a\\u200b' holds a character"),
    (with_backend(url="http://a:1?b"), "models.chat.versions.v1.backends[0].url: expected http://host:port"),
    (with_backend(url="http://a:1/#b"), "models.chat.versions.v1.backends[0].url: expected http://host:port"),
    (with_backend(engine="dcgm"), "models.chat.versions.v1.backends[0].engine: expected one of triton, vllm"),
    (with_backend(max_in_flight=-1), "max_in_flight: expected 0 or more, got -1"),
    (with_backend(credentials={"file": "a", "env": "b"}), "credentials: expected one of file, env"),
    (with_backend(credentials={}), "credentials: expected one of file, env"),
    (with_key(digest="0" * 63), "keys.k1.digest: expected 64 hexadecimal digits"),
    (with_key(tenant=""), "keys.k1.tenant: is empty"),
    (with_key(role="admin"), "keys.k1.role: expected one of user, tester, got admin"),
    (with_key(limits={"daily_usd": -1}), "keys.k1.limits.daily_usd: expected above 0, got -1"),
    (with_key(expires_at="never"), "keys[0].expires_at: expected a number, got 'never'"),
    (changed(keys=[{"id": "k", "digest": "0" * 64, "tenant": "t"}] * 2), "keys: k is listed twice"),
    (changed(tenants=[{"name": "a", "weight": 0}]), "tenants.a.weight: expected a number above 0, got 0"),
)


@pytest.mark.parametrize(("data", "words"), REFUSED, ids=[words[:50] for _, words in REFUSED])
def test_a_wrong_document_is_refused_with_its_place(data: bytes, words: str) -> None:
    with pytest.raises(BadDesired) as refused:
        decode(data)
    assert words in str(refused.value)


def test_a_large_document_is_refused_unread() -> None:
    with pytest.raises(BadDesired, match=f"has {MAX_BYTES + 1} bytes; at most {MAX_BYTES} are read"):
        decode(b" " * (MAX_BYTES + 1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_a_document_with_any_value_changed_is_read_or_refused(data: st.DataObject) -> None:
    document = json.loads(encode(data.draw(states())))
    at: Any = document
    while True:
        here = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[here], dict | list) or not at[here] or data.draw(st.booleans()):
            break
        at = at[here]
    at[here] = data.draw(JSON)
    try:
        read = decode(json.dumps(document).encode())
    except BadDesired as refused:
        assert str(refused)
    else:
        assert decode(encode(read)) == read
