"""DeepSpeed-MII's HTTP servers: whether one answers, and the model that it was started for.

Its answer to GET /health is a constant: it says nothing about the processes that hold the model. GET /terminate, which
its older REST gateway answers by shutting down, is never asked.
"""

from __future__ import annotations

from collectors.errors import UnexpectedStatus
from collectors.http.http_client import exposition_of
from collectors.http.server_api import ServerApi
from collectors.status.families import gauge
from collectors.status.fields import entries

HEALTH, MODELS = ("/health", "/healthz"), "/v1/models"
_OK, _ABSENT = 200, 404


class MiiReader:
    """Reads one server."""

    remark = ""

    async def read(self, api: ServerApi, _timeout_s: float) -> bytes:
        """Return the exposition. Raises UnexpectedStatus for a server without a health check, other ScrapeErrors, and
        aiohttp's errors."""
        for path in HEALTH:
            reply = await api.ask("GET", path)
            if reply.status != _ABSENT:
                break
        else:
            raise UnexpectedStatus(
                "has no /health: DeepSpeed-MII's REST gateway has none, and can only be watched by a probe; "
                "set the address of its OpenAI server or of its API server"
            )
        reply.whole()
        models = await api.ask("GET", MODELS)
        names = entries(models.json(), "data", MODELS, ("id",)) if models.status == _OK else ()
        return exposition_of(
            [
                gauge(
                    "llm_engine_ready",
                    "1 when the engine reports itself ready, as load balancers see it.",
                    ("backend",),
                    [((api.backend,), 1.0)],
                ),
                gauge(
                    "mii_model_info",
                    "Always 1: the model that the server was started for.",
                    ("served_model",),
                    (((name,), 1.0) for name in names),
                ),
            ]
        )
