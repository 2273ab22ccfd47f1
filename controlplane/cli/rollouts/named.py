"""The rollout that an operator names: by its id, or by its model, which means the newest rollout of that model."""

from __future__ import annotations

import re
from typing import Any

from controlplane.cli.client import ApiClient, quoted
from controlplane.cli.errors import WrongUsage
from controlplane.cli.verbs.grammar import hint

_ID = re.compile(r"r-[0-9a-f]+")


def rollout_id(client: ApiClient, name: str) -> str:
    """Return the id of the named rollout: of a running one if the model has one, else of its last one.

    Raises WrongUsage when neither a rollout nor a model has this name, or the model has had no rollout.
    """
    if _ID.fullmatch(name):
        return name
    models: list[dict[str, Any]] = client.get("/cp/v1/models")["items"]
    known = [model["name"] for model in models]
    if name not in known:
        raise WrongUsage(
            f"there is no rollout and no model {name}{hint(name, known)}",
            ("`cp rollouts list` names the rollouts, `cp models` the models",),
        )
    items = client.get("/cp/v1/rollouts", model=name, limit=1)["items"]
    if not items:
        raise WrongUsage(f"model {name} has had no rollout", (f"`cp promote {name} VERSION` starts one",))
    return str(items[0]["id"])


def path_of(client: ApiClient, name: str, action: str = "") -> str:
    """Return the path of the named rollout, or of an action on it. Raises WrongUsage."""
    return f"/cp/v1/rollouts/{quoted(rollout_id(client, name))}" + (f"/{action}" if action else "")
