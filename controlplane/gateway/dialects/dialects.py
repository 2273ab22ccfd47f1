"""All dialects behind one face: the implementation of `seams.Dialects`. It has no state."""

from __future__ import annotations

from controlplane.gateway.dialects import models, routes, shapes
from controlplane.gateway.dialects.answers import readers
from controlplane.gateway.dialects.asking import ask, outgoing


class AllDialects:
    """OpenAI, Anthropic, Ollama, Triton and KServe v2, and any other path of an engine.

    The methods are the functions of the modules: one call less for each stage of a request.
    """

    recognise = staticmethod(routes.recognise)
    read = staticmethod(ask.ask)
    outgoing = staticmethod(outgoing.outgoing)
    reader = staticmethod(readers.reader)
    refuse = staticmethod(shapes.refuse)
    broken = staticmethod(shapes.broken)
    models = staticmethod(models.models)
