"""The reason of an answer's end, and whether the answer has content, in each API.

Sources: OpenAI's chat, completions and responses; Anthropic's messages; Ollama's `done_reason`; the optional output
`finish_reason` of Triton's vLLM backend; SGLang's and TGI's words.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.gateway.request import Content, Finish

Document = Mapping[str, object]

_FINISHES = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "eos", "eos_token", "completed"), Finish.STOP),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"), Finish.LENGTH),
    **dict.fromkeys(("content_filter", "refusal"), Finish.CONTENT_FILTER),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), Finish.TOOL_CALLS),
}
_ABSENT = ("", "None", "null")
"""Triton's vLLM backend writes Python's None as text."""
_RANK = {
    finish: rank
    for rank, finish in enumerate(
        (Finish.NONE, Finish.STOP, Finish.TOOL_CALLS, Finish.OTHER, Finish.LENGTH, Finish.CONTENT_FILTER)
    )
}
"""Of several choices of one answer, the reason with the highest rank counts: the one that is worst for a client."""
_PARTS = ("text", "thinking", "partial_json", "reasoning")
_TOOLS = ("tool_use", "server_tool_use", "function_call", "mcp_call", "custom_tool_call", "web_search_call")
"""Types of parts that have content whatever their text is."""
_NO_OUTPUT = frozenset(("model_name", "model_version", "id", "finish_reason"))
"""Members of Triton's answers that are no output of the model."""


def finish(word: object, content: Content) -> None:
    """Note the reason of an end. A value that is no text counts as no reason."""
    if isinstance(word, dict):
        word = word.get("type")  # SGLang: {"type": "length", "length": 16}
    if not isinstance(word, str) or word in _ABSENT:
        return
    found = _FINISHES.get(word, Finish.OTHER)
    if _RANK[found] > _RANK[content.finish]:
        content.finish = found
    if found is Finish.CONTENT_FILTER:
        content.refused = True


def say(value: object, content: Content) -> None:
    """Note a text, a list of parts, or a tool call of an answer."""
    if content.said or not value:
        return
    if isinstance(value, str):
        content.said = not value.isspace()
    elif isinstance(value, list) and any(isinstance(part, dict) and "type" in part for part in value):
        for part in value:
            of_part(part, content)
    else:
        content.said = True


def refuse(value: object, content: Content) -> None:
    """Note OpenAI's member `refusal`: null, or the text of a refusal."""
    if value:
        content.said = content.refused = True


def of_part(part: object, content: Content) -> None:
    """Note one part of a message: Anthropic's blocks, and OpenAI's parts and output items."""
    if not isinstance(part, dict):
        return
    kind = part.get("type")
    if kind in _TOOLS or kind == "function":
        content.said = True
    refuse(part.get("refusal"), content)
    for name in _PARTS:
        say(part.get(name), content)
    for name in ("content", "summary"):
        inner = part.get(name)
        if isinstance(inner, list):
            for each in inner:
                of_part(each, content)


def of_choice(choice: Document, content: Content) -> None:
    """Note a choice of OpenAI's chat or completions, whole or of a stream."""
    if reason := choice.get("finish_reason"):
        finish(reason, content)
    message = choice.get("delta") or choice.get("message")
    if not isinstance(message, dict):
        say(choice.get("text"), content)
        return
    if refusal := message.get("refusal"):
        refuse(refusal, content)
    if not content.said:
        for name in ("content", "tool_calls", "reasoning_content", "reasoning", "function_call", "audio"):
            say(message.get(name), content)


def of_response(response: object, content: Content) -> None:
    """Note a whole response of OpenAI's responses."""
    if not isinstance(response, dict):
        return
    details = response.get("incomplete_details")
    output = response.get("output")
    items = output if isinstance(output, list) else []
    calls = any(isinstance(item, dict) and item.get("type") == "function_call" for item in items)
    if response.get("status") == "incomplete":
        reason = details.get("reason") if isinstance(details, dict) else None
        finish(reason or "incomplete", content)
    else:
        finish("tool_calls" if calls else response.get("status"), content)
    for item in items:
        of_part(item, content)


def of_ollama(event: Document, content: Content) -> None:
    """Note an answer of Ollama, or a piece of one."""
    finish(event.get("done_reason"), content)
    say(event.get("response"), content)
    message = event.get("message")
    if isinstance(message, dict) and not content.said:
        for name in ("content", "thinking", "tool_calls"):
            say(message.get(name), content)


def of_triton(event: Document, content: Content) -> None:
    """Note an answer of Triton's generate, or a piece of one.

    The names of the outputs are the model's own. Numbers are left out: they are log probabilities and counts.
    """
    finish(event.get("finish_reason"), content)
    if not content.said:
        for name, value in event.items():
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str) and name not in _NO_OUTPUT:
                    say(text, content)


def of_body(document: Document, content: Content) -> None:
    """Note a whole answer, in the shape of whichever API it has."""
    if (choices := document.get("choices")) is not None:
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                of_choice(choice, content)
    elif document.get("object") == "response":
        of_response(document, content)
    elif document.get("type") == "message":
        finish(document.get("stop_reason"), content)
        say(document.get("content"), content)
    elif "done" in document:
        of_ollama(document, content)
    else:
        of_triton(document, content)
