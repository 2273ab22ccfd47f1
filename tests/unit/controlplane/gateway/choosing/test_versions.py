"""From a request's name to a model, a version and a backend."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from controlplane.gateway.refusal import RefusalKind
from controlplane.gateway.request import Caller, Outcome
from tests.fakes.choosing_world import TESTER, USER, World, ask, backend, model, name_of, version


def test_a_model_has_a_name_and_aliases() -> None:
    world = World(
        model("chat", version("v1", 1000, "a"), aliases=("gpt-4o", "small")),
        model("small", version("v1", 1000, "b")),
    )
    assert world.choose(ask("gpt-4o")).model.name == "chat"
    assert world.choose(ask("small")).model.name == "small"  # a name beats an alias
    assert world.chooser.names(USER) == ["chat", "gpt-4o", "small"]
    assert world.chooser.named("chat", USER) is not None
    assert world.chooser.named("gpt-4o", USER) is None
    assert world.refused(ask("other")).kind is RefusalKind.UNKNOWN_MODEL


def test_a_path_passes_to_the_models_that_list_it() -> None:
    world = World(
        model("chat", version("v1", 1000, "a"), paths=("/custom/*",)),
        model("other", version("v1", 1000, "b")),
    )
    assert name_of(world.choose(ask("chat", listed_path="/custom/x"))) == "a"
    for name, path in (("chat", "/customs"), ("other", "/custom/x")):
        refusal = world.refused(ask(name, listed_path=path))
        assert (refusal.kind, refusal.code) == (RefusalKind.UNKNOWN_PATH, "path_not_listed")
        assert path in refusal.message and "gateway.paths" in refusal.message


def test_a_key_does_not_see_models_that_it_may_not_ask() -> None:
    world = World(model("chat", version("v1", 1000, "a")), model("secret", version("v1", 1000, "b")))
    caller = replace(USER, models=frozenset({"chat"}))
    assert world.chooser.named("small", caller) is None
    assert world.chooser.names(caller) == ["chat"]
    refusal, unknown = world.refused(ask("secret"), caller), world.refused(ask("nothing"), caller)
    assert refusal.message.replace("secret", "nothing") == unknown.message
    assert (refusal.kind, refusal.param, refusal.code) == (RefusalKind.UNKNOWN_MODEL, "model", "model_not_found")


def test_a_tester_chooses_a_version_even_of_weight_zero() -> None:
    world = World(model("chat", version("v1", 1000, "a"), version("v2", 0, "b")))
    assert world.choose(ask(version="v2"), TESTER).version == "v2"
    assert {world.choose().version for _ in range(100)} == {"v1"}


def test_others_may_not_choose_a_version() -> None:
    world = World(model("chat", version("v1", 1000, "a"), version("v2", 0, "b")))
    refusal = world.refused(ask(version="v2"))
    assert refusal.kind is RefusalKind.FORBIDDEN
    assert "`v2`" in refusal.message
    assert "role tester" in refusal.message
    assert world.refused(ask(version="v2"), Caller("", "anonymous")).kind is RefusalKind.FORBIDDEN


def test_a_tester_learns_which_versions_there_are() -> None:
    world = World(model("chat", version("v1", 1000, "a"), version("v2", 0, "b")))
    refusal = world.refused(ask(version="v3"), TESTER)
    assert refusal.kind is RefusalKind.MALFORMED
    assert refusal.message == "The model `chat` has no version `v3`. It has `v1`, `v2`."


def test_a_version_of_triton_is_found_by_its_directory() -> None:
    world = World(
        model(
            "chat",
            version("blue", 1000, backend("t", path_version="3")),
            version("green", 0, backend("t", path_version="4")),
        )
    )
    held = world.choose(ask(version="4"), TESTER)
    assert (held.version, held.backend.path_version) == ("green", "4")


def test_a_version_whose_backends_all_drain_gets_nothing() -> None:
    world = World(model("chat", version("v1", 500, "a"), version("v2", 500, "b", draining=True)))
    assert {world.choose().version for _ in range(10)} == {"v1"}
    assert world.refused(ask(version="v2"), TESTER).kind is RefusalKind.NO_CAPACITY


@pytest.mark.parametrize("versions", [(), (version("v1", 1000),), (version("v1", 1000, "a", draining=True),)])
def test_a_model_without_a_backend_says_so(versions: tuple[object, ...]) -> None:
    world = World(model("chat", *versions))  # type: ignore[arg-type]
    refusal = world.refused()
    assert refusal.kind is RefusalKind.NO_CAPACITY
    assert "`chat`" in refusal.message
    assert refusal.retry_after_s


def test_a_draining_backend_gets_nothing_new() -> None:
    world = World(model("chat", version("v1", 1000, "a", backend("b", draining=True))))
    assert {name_of(world.choose()) for _ in range(10)} == {"a"}


def test_an_adapter_is_asked_where_it_is_loaded() -> None:
    world = World(
        model(
            "chat",
            version("v1", 900, backend("a", adapters=("law",)), "b"),
            version("v2", 100, "c"),
            aliases=("gpt",),
        )
    )
    assert world.chooser.names(USER) == ["chat", "gpt", "law"]
    assert Counter(name_of(world.choose(ask("law"))) for _ in range(50)) == {"a": 50}
    assert world.open()["a"] == 50
    # The base model goes on with its own tickets, to the least busy backends.
    counts = Counter(world.choose().version for _ in range(100))
    assert counts == {"v1": 90, "v2": 10}


def test_an_adapter_keeps_to_the_weights_of_the_versions_that_have_it() -> None:
    law = {"adapters": ("law",)}
    world = World(model("chat", version("v1", 750, "a", **law), version("v2", 250, "b", **law)))
    counts = Counter(world.choose(ask("law") if n % 2 else ask()).version for n in range(800))
    assert counts == {"v1": 600, "v2": 200}
    world.apply(model("chat", version("v1", 750, "a", **law), version("v2", 250, "b")))
    assert {world.choose(ask("law")).version for _ in range(8)} == {"v1"}
    world.apply(model("chat", version("v1", 750, "a"), version("v2", 250, "b")))
    assert world.refused(ask("law")).kind is RefusalKind.UNKNOWN_MODEL


def test_a_name_of_a_model_beats_an_adapter_of_the_same_name() -> None:
    world = World(
        model("chat", version("v1", 1000, backend("a", adapters=("chat", "other")), "b")),
        model("other", version("v1", 1000, "c")),
    )
    assert {name_of(world.choose()) for _ in range(4)} == {"a", "b"}
    assert name_of(world.choose(ask("other"))) == "c"


def test_a_route_is_used_as_it_was_found() -> None:
    world = World(model("chat", version("v1", 500, "a"), version("v2", 500, "b")))
    spec = world.chooser.named("chat", USER)
    assert spec is not None
    kept = []
    for _ in range(10):
        route = world.chooser.route(ask(), USER, spec)
        held = world.chooser.choose(ask(), USER, spec, world.now, lambda _: None, route)  # type: ignore[arg-type]
        assert held.version == route.name  # type: ignore[union-attr]
        kept.append(held)
    assert sum(world.open().values()) == 10
    assert Counter(one.requests for one in world.report().backends) == {5: 2}


def test_a_model_that_was_removed_is_unknown_to_every_call() -> None:
    world = World(model("chat", version("v1", 1000, "a")))
    spec = world.chooser.named("chat", USER)
    held = world.choose()
    world.apply()
    assert spec is not None
    for refusal in (
        world.chooser.choose(ask(), USER, spec, world.now, lambda _: None),
        world.chooser.route(ask(), USER, spec),
        world.chooser.again(ask(), held, world.now),
    ):
        assert refusal.kind is RefusalKind.UNKNOWN_MODEL  # type: ignore[union-attr]
    assert world.chooser.hedge_after(held) is None
    assert world.chooser.hedge(ask(), held, world.now) is None
    assert world.chooser.mirror(ask(), held, world.now) is None
    assert world.chooser.cache(spec) is None
    held.release(Outcome.OK, world.now)
