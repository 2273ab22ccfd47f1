"""The demo's Triton model: copied as model.py into each version folder, and run by Triton's python backend only.

It answers `text_input` as a stream of `text_output` tokens, the last one with `finish_reason: stop`. Every answer
begins with the version that gave it, so that a client sees which one served.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # the python backend brings it

SENTENCES = {
    "1": "the quick brown fox jumps over the lazy dog and then it rests a while",
    "2": "pack my box with five dozen liquor jugs before the big storm comes in",
}
MIN_TOKENS, MAX_TOKENS = 5, 15
FAULT_CHECK_S = 1.0
PARENT_CHECK_S = 0.5


def end_with_the_server(server_pid: int) -> None:
    """Kill this process once its tritonserver is gone.

    The backend's stub ends by itself, but not while a stream waits for the server to take a token: after `kill -9` of
    the server that wait lasts for ever.
    """
    while os.getppid() == server_pid:
        time.sleep(PARENT_CHECK_S)
    region = Path("/proc/self/cmdline").read_bytes().split(b"\0")[2].decode()
    Path("/dev/shm", region).unlink(missing_ok=True)  # noqa: S108 - the shared memory that the backend named
    os.kill(os.getpid(), signal.SIGKILL)


class TritonPythonModel:
    """One instance that streams several answers at once, each from a thread of a bounded pool."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the model's parameters; called once by the backend before the version is READY."""
        threading.Thread(target=end_with_the_server, args=(os.getppid(),), daemon=True).start()
        parameters = json.loads(args["model_config"]).get("parameters", {})
        text = {name: value["string_value"] for name, value in parameters.items()}
        self.version = args["model_version"]
        self.token_s = float(text.get("token_seconds", "0.03"))
        self.fault_file = Path(text["fault_file"]) if "fault_file" in text else None
        streams = int(text.get("streams", "16"))
        self.pool = ThreadPoolExecutor(streams, thread_name_prefix="stream")
        # Requests beyond the pool stay in Triton's queue, where its metrics count them as pending.
        self.free = threading.BoundedSemaphore(streams)
        self.lock = threading.Lock()
        self.checked_at, self.slow_s = -FAULT_CHECK_S, 0.0

    def execute(self, requests: list[Any]) -> None:
        """Hand each request to the pool and return: a decoupled model answers through its response senders."""
        for request in requests:
            tensor = pb_utils.get_input_tensor_by_name(request, "text_input")
            prompt = str(tensor.as_numpy().flat[0].decode("utf-8", "replace"))
            streaming, limit = self.option(request, "stream", True), self.option(request, "max_tokens", MAX_TOKENS)
            self.free.acquire()
            self.pool.submit(self.answer, request.get_response_sender(), prompt, bool(streaming), int(limit))

    def finalize(self) -> None:
        """Called when the version is unloaded, once its requests have ended."""
        self.pool.shutdown(wait=True)

    def answer(self, sender: Any, prompt: str, streaming: bool, limit: int) -> None:
        """Send the tokens of one answer, paced; without streaming, all of them in one response."""
        try:
            time.sleep(self.extra_delay())
            tokens = self.tokens(prompt, limit)
            if not streaming:
                time.sleep(self.token_s * len(tokens))
                tokens = ["".join(tokens)]
            for number, token in enumerate(tokens, start=1):
                if streaming:
                    time.sleep(self.token_s)
                if sender.is_cancelled():
                    break
                sender.send(self.response(token, last=number == len(tokens)))
        finally:
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            self.free.release()

    def tokens(self, prompt: str, limit: int) -> list[str]:
        """The answer to a prompt: always the same one, 5 to 15 tokens long by the prompt's length."""
        words = SENTENCES.get(self.version, SENTENCES["2"]).split()
        count = min(MIN_TOKENS + len(prompt) % (MAX_TOKENS - MIN_TOKENS + 1), max(limit, 1))
        return [f"v{self.version}:", *(f" {word}" for word in words)][:count]

    def response(self, token: str, last: bool) -> Any:
        """One response; only the last carries `finish_reason`."""
        outputs = [pb_utils.Tensor("text_output", np.array([token.encode()], dtype=np.object_))]
        if last:
            outputs.append(pb_utils.Tensor("finish_reason", np.array([b"stop"], dtype=np.object_)))
        return pb_utils.InferenceResponse(output_tensors=outputs)

    def option(self, request: Any, name: str, default: Any) -> Any:
        """An optional scalar input."""
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        return default if tensor is None else tensor.as_numpy().flat[0]

    def extra_delay(self) -> float:
        """Seconds that the demo's fault file adds before this version's first token, read at most once a second."""
        if self.fault_file is None:
            return 0.0
        with self.lock:
            now = time.monotonic()
            if now - self.checked_at >= FAULT_CHECK_S:
                self.checked_at = now
                try:
                    self.slow_s = float(json.loads(self.fault_file.read_text())["slow"].get(self.version, 0.0))
                except (OSError, ValueError, KeyError):
                    self.slow_s = 0.0
            return self.slow_s
