"""Hooks: URLs that are called with a rollout as JSON. A failure is a finding; `on_failure` is its meaning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from controlplane.errors import Unavailable
from controlplane.remote_client import RemoteClient, Reply
from controlplane.rollout.findings import Finding, Outcome, Work
from controlplane.rollout.model import Plan, Rollout
from controlplane.rollout.options import Hook, Moment
from controlplane.traffic.words import told

ATTEMPTS = 3
"""Calls of one hook until one has an answer that counts. Chosen: a receiver that restarts is back by then."""
PAUSES_S = (1.0, 3.0)
"""Seconds before the second and the third call."""
MAX_ANSWER_BYTES = 16 * 1024
"""Bytes that are read of an answer. Chosen: only its status counts, and a sentence for people."""
MAX_WORDS = 200
"""Maximum number of characters of an answer's sentence that are shown."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which a call is repeated. Source: RFC 9110 and 6585, what a later attempt can cure."""
_AFTERWARDS = (Moment.ROLLBACK, Moment.END)
"""Moments at which the plan no longer says which share the candidate has."""


class HookWorker:
    """A rollout.workers.Worker: calls the hook that has the work's name.

    Each repetition has the same idempotency key, also after a crash, so a receiver can act once.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._sleep = sleep

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Return PASS for status 2xx, FAIL for everything else: another status, no answer, a secret that is missing."""
        hook = next((each for each in rollout.plan.options.hooks if each.name == work.name), None)
        if hook is None:
            return Finding(Outcome.FAIL, (f"the plan has no hook {work.name}",))
        client = RemoteClient(hook.url, hook.auth, max_reply_bytes=MAX_ANSWER_BYTES, whole=False)
        try:
            return await self._call(client, rollout, hook, work.step)
        finally:
            await client.close()

    async def _call(self, client: RemoteClient, rollout: Rollout, hook: Hook, step: int) -> Finding:
        key = idempotency_key(rollout, hook, step)
        body = json.dumps(document(rollout, hook, step)).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Idempotency-Key": key}
        fault = ""
        for attempt in range(1, ATTEMPTS + 1):
            if attempt > 1:
                await self._sleep(PAUSES_S[attempt - 2])
            try:
                reply = await client.request("POST", "", hook.timeout_s, body=body, headers=headers)
            except (TimeoutError, Unavailable) as error:
                fault = str(error)
                continue
            if 200 <= reply.status < 300:
                return Finding(Outcome.PASS, (f"hook {hook.name}: {client.name} answered {reply.status}",))
            fault = f"{client.name} {_answered(reply)}"
            if reply.status not in AGAIN:
                return _failed(hook, fault, attempt)
        return _failed(hook, fault, ATTEMPTS)


def idempotency_key(rollout: Rollout, hook: Hook, step: int) -> str:
    """Return the key of one call: equal for every repetition of it, and for no other call."""
    return f"{rollout.id}.{step}.{hook.at}.{hook.name}"


def document(rollout: Rollout, hook: Hook, step: int) -> dict[str, Any]:
    """Return the JSON that a hook gets."""
    plan = rollout.plan
    return {
        "hook": hook.name,
        "moment": hook.at.value,
        "idempotency_key": idempotency_key(rollout, hook, step),
        "rollout": rollout.id,
        "model": plan.model,
        "from_version": plan.from_version,
        "to_version": plan.to_version,
        "kind": plan.kind.value,
        "strategy": plan.strategy,
        "step": step,
        "steps": len(plan.steps),
        "weight": None if hook.at in _AFTERWARDS else _weight(plan, step),
        "phase": (rollout.ending or rollout.phase).value,
        "sentence": rollout.sentence,
        "started_by": rollout.created_by,
        "started_at": rollout.created_at,
    }


def _weight(plan: Plan, step: int) -> float:
    """Return the candidate's share of the requests by the plan at a step. Before the first share it is 0."""
    shares = [each.weight for each in plan.steps[: step + 1] if each.weight is not None]
    return shares[-1] if shares else 0.0


def _failed(hook: Hook, fault: str, attempts: int) -> Finding:
    number = f", {attempts} times" if attempts > 1 else ""
    return Finding(Outcome.FAIL, (f"hook {hook.name} failed{number}: {fault}",))


def _answered(reply: Reply) -> str:
    """Return a status in words. Of the body only a `message` is shown: an answer may repeat the request's secret."""
    if 300 <= reply.status < 400:
        there = f" to {told(reply.location)}" if reply.location else ""
        return f"redirects{there}, and redirects are not followed; set the final address"
    try:
        data = json.loads(reply.body)
    except (ValueError, RecursionError):
        data = None
    words = data.get("message") if isinstance(data, dict) else None
    said = f": {told(words)[:MAX_WORDS]}" if isinstance(words, str) and words.strip() else ""
    return f"answered {reply.status}{said}"
