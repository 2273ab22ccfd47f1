"""FastChat's controller and workers, which have no page of metrics.

A controller answers POST /list_models, a worker POST /worker_get_status. The controller is recognised first, because it
answers the worker's path too, and then asks all of its workers while it serves nobody. Never asked are
/refresh_all_workers, which empties the routing table, and /get_worker_address, which counts as a request.
"""

from __future__ import annotations

from typing import Any

from prometheus_client.core import GaugeMetricFamily

from collectors.errors import UnexpectedStatus
from collectors.http.http_client import exposition_of
from collectors.http.server_api import ServerApi
from collectors.status.families import gauge
from collectors.status.fields import amount, listed, text

CONTROLLER, WORKER = "/list_models", "/worker_get_status"
_ABSENT = (404, 405)


class FastChatReader:
    """Reads one controller or one worker."""

    remark = ""

    async def read(self, api: ServerApi, _timeout_s: float) -> bytes:
        """Return the exposition. Raises UnexpectedStatus for a server that is neither, other ScrapeErrors, and
        aiohttp's errors."""
        reply = await api.ask("POST", CONTROLLER)
        if reply.status not in _ABSENT:
            return exposition_of(_controller(reply.json()))
        reply = await api.ask("POST", WORKER)
        if reply.status not in _ABSENT:
            return exposition_of(_worker(reply.json()))
        raise UnexpectedStatus(
            f"neither a controller nor a worker of FastChat: it has no {CONTROLLER} and no {WORKER}; "
            "set the address of the controller or of a worker, not of the OpenAI server"
        )


def _controller(answer: Any) -> list[GaugeMetricFamily]:
    models = _names(answer, "models", CONTROLLER)
    return [
        gauge("fastchat_controller_models", "Models with a registered worker.", (), [((), float(len(models)))]),
        gauge(
            "fastchat_controller_model_info",
            "Always 1: a worker with the model is registered.",
            ("served_model",),
            (((model,), 1.0) for model in models),
        ),
    ]


def _worker(answer: Any) -> list[GaugeMetricFamily]:
    models = _names(answer, "model_names", WORKER)
    return [
        gauge(
            "fastchat_worker_queue_length",
            "Requests at the worker, running and waiting together.",
            (),
            [((), amount(answer.get("queue_length")))],
        ),
        gauge(
            "fastchat_worker_model_info",
            "Always 1: the worker serves under this name.",
            ("served_model",),
            (((model,), 1.0) for model in models),
        ),
    ]


def _names(answer: Any, key: str, path: str) -> list[str]:
    return list(dict.fromkeys(name for name in map(text, listed(answer, key, path)) if name))
