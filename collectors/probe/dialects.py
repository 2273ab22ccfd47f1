"""The table of the probe's protocols, and the choice among them by name or by the URL's path. Pure."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from collectors.errors import CollectorError
from collectors.probe.anthropic import Anthropic
from collectors.probe.ollama import Ollama, OllamaEmbed
from collectors.probe.openai import Embeddings, OpenAI, Rerank
from collectors.probe.protocol import Dialect
from collectors.probe.question import Question
from collectors.probe.tensorflow import Predict
from collectors.probe.triton import Infer, TritonGenerate

PROTOCOLS = ("openai", "fastchat", "embeddings", "rerank", "anthropic", "ollama", "triton", "tfserving")
"""Names of the protocols. `fastchat` is `openai`: its API server speaks it."""
_PATHS = (
    ("/api/chat", "ollama"),
    ("/api/generate", "ollama"),
    ("/api/embed", "ollama"),
    ("/generate", "triton"),
    ("/generate_stream", "triton"),
    ("/infer", "triton"),
    (":predict", "tfserving"),
    ("/completions", "openai"),
    ("/embeddings", "embeddings"),
    ("/rerank", "rerank"),
    ("/messages", "anthropic"),
)
"""Ends of paths, and the protocols that they stand for. The first that fits counts."""
_AZURE = "/openai/deployments/"
"""Part of the paths where Azure OpenAI reads a key from the header `api-key`. At `/openai/v1/` it is a bearer token."""


def dialect_for(url: str, protocol: str | None, model: str, question: Question) -> Dialect:
    """Return the dialect for one of PROTOCOLS (None: by the URL's path).

    Raises CollectorError when none fits, without a model where the protocol needs one, and for `infer` without tensors.
    """
    path = urlsplit(url).path.rstrip("/")
    name = protocol or next((known for end, known in _PATHS if path.endswith(end)), "")
    if not name:
        ends = ", ".join(f"…{end}" for end, _ in _PATHS)
        raise CollectorError(
            f"probe {url}: no protocol has this path (known: {ends}); set protocol: to one of {', '.join(PROTOCOLS)}"
        )
    made = _made(name, path, model, question)
    if not model and not isinstance(made, TritonGenerate | Infer | Predict):
        raise CollectorError(f"probe {url}: set the model to ask (model_name:, or a model label)")
    if isinstance(made, Infer) and not question.tensors.inputs:
        raise CollectorError(f"probe {url}: infer needs tensors: with inputs:")
    return replace(made, key_header="api-key") if _AZURE in path else made


def _made(name: str, path: str, model: str, question: Question) -> Dialect:
    if name == "triton":
        return (
            Infer(model, question)
            if path.endswith("/infer")
            else TritonGenerate(model, question, path.endswith("_stream"))
        )
    if name == "ollama":
        return (
            OllamaEmbed(model, question)
            if path.endswith("/embed")
            else Ollama(model, question, not path.endswith("/generate"))
        )
    if name in ("openai", "fastchat") and not path.endswith("/embeddings"):
        return OpenAI(model, question, path.endswith("/chat/completions"))
    others: dict[str, type[Dialect]] = {"anthropic": Anthropic, "rerank": Rerank, "tfserving": Predict}
    return others.get(name, Embeddings)(model, question)
