"""Ray Serve with one application, on a Ray of its own: `python ray_server.py HTTP_PORT METRICS_PORT FOLDER`.

It runs in Ray's environment. The application `chat` answers POST /v1/chat/completions. The model in a question tells
what else it does: `boom` is a fault of the application, `nowhere` one of the client, and `slow` takes a second. Two
requests run, and two wait.
"""

# Annotations are no strings here: Ray sends the class to its replicas without the names that only strings have.
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import ray
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from ray import serve

api = FastAPI()


async def words() -> AsyncIterator[str]:
    """Yield a stream of ten seconds."""
    for number in range(100):
        yield f"data: {number}\n\n"
        await asyncio.sleep(0.1)


@serve.deployment(max_ongoing_requests=2, max_queued_requests=2, ray_actor_options={"num_cpus": 0})
@serve.ingress(api)
class Chat:
    @api.get("/ready")
    async def ready(self) -> str:
        return "ready"

    @api.post("/v1/chat/completions")
    async def chat(self, request: Request) -> Any:
        asked = await request.json()
        if asked["model"] == "boom":
            raise RuntimeError("boom")
        if asked["model"] == "nowhere":
            return JSONResponse({"error": "no such model"}, 404)
        if asked.get("stream"):
            return StreamingResponse(words(), media_type="text/event-stream")
        if asked["model"] == "slow":
            await asyncio.sleep(1)
        return {"choices": []}


if __name__ == "__main__":
    port, metrics_port, folder = sys.argv[1:]
    options = {"_metrics_export_port": int(metrics_port), "_temp_dir": folder, "object_store_memory": 100_000_000}
    ray.init(num_cpus=2, include_dashboard=False, **options)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(Chat.bind(), name="chat", route_prefix="/")  # type: ignore[attr-defined]  # the decorator adds it
    signal.pause()
