"""KServe's Python server with two models: `python kserve_server.py HTTP_PORT GRPC_PORT`, in KServe's environment.

A model answers with its instances. The first instance tells what else it does: `boom` is a fault of the model, `bad` a
fault of the client, and a number with a point the seconds that it takes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput


class Echo(Model):  # type: ignore[misc]  # kserve is not in the environment that is checked
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    async def preprocess(self, payload: Any, headers: Any = None) -> Any:
        return payload

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        if not isinstance(payload, dict):
            output = InferOutput("y", [1], "FP32", data=[1.0])
            return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])
        instances = payload["instances"]
        if instances[0] == "boom":
            raise RuntimeError("boom")
        if instances[0] == "bad":
            raise InvalidInput("bad")
        if isinstance(instances[0], float):
            await asyncio.sleep(instances[0])
        return {"predictions": instances}


if __name__ == "__main__":
    ports = {"http_port": int(sys.argv[1]), "grpc_port": int(sys.argv[2])}
    ModelServer(workers=1, **ports).start([Echo("chat"), Echo("chat-v2")])
