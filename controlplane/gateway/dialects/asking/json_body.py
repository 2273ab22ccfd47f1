"""The few members of a JSON body that the gateway reads. The decoder skips the others without making values of them."""

from __future__ import annotations

import re
from itertools import product
from typing import Any, Literal, cast

import msgspec

from controlplane.gateway.dialects import json_scan
from controlplane.gateway.dialects.errors import Unreadable

SMALL = 128 * 2**10
"""Bytes up to which a body that the decoder refuses is parsed once more as a whole, to say what is wrong."""
MOST_QUOTES = 400_000
"""Most quotes in a larger body: 200,000 strings, which the scan of outgoing.py reads in 0.1 s. Conversations have some
thousands."""
LONGEST_VALUE = 64 * 2**10
"""Bytes of the longest value that the second reading takes. A longer one is no setting."""


class Members(msgspec.Struct):
    """Members of a body. None where the body has none, or null. Of a repeated name the last one counts."""

    model: Any = None
    stream: Any = None
    stream_options: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    temperature: Any = None
    n: Any = None
    best_of: Any = None
    user: Any = None
    prompt_cache_key: Any = None
    metadata: Any = None
    """Anthropic: an object with `user_id`."""
    options: Any = None
    """Ollama: an object with `num_predict` and `temperature`."""
    parameters: Any = None
    """TGI: an object with `max_new_tokens`. Triton: one with `sequence_id`."""
    sampling_params: Any = None
    """SGLang: an object with `max_new_tokens`."""
    previous_response_id: Any = None
    conversation: Any = None

    def inputs(self) -> int:
        """Return the number of inputs. One for a body that generates an answer."""
        return 1


class CountedMembers(Members):
    """Members of an embeddings, rerank or score request."""

    input: msgspec.Raw = msgspec.Raw()
    """OpenAI. The other names are those of Jina and vLLM, vLLM's score, and TEI."""
    documents: msgspec.Raw = msgspec.Raw()
    text_2: msgspec.Raw = msgspec.Raw()
    inputs_: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="inputs")
    texts: msgspec.Raw = msgspec.Raw()

    def inputs(self) -> int:
        """Return the number of texts. A list of numbers is one: the tokens of one text."""
        return max(map(_length, (self.input, self.documents, self.text_2, self.inputs_, self.texts)))


_SPELLINGS = ["".join(letters) for letters in product(*((letter, letter.upper()) for letter in "model"))][1:]
"""`model` in other letters. Servers in Go, such as Ollama, take that for the model, in each API that they serve."""


def _decoder(members: type[Members]) -> msgspec.json.Decoder[Members]:
    """Return a decoder that takes no other spelling of `model`. That costs 3 µs a body; a scan costs 15 for 7 KB."""
    none = msgspec.field(default="")
    fields = [(f"spelling_{number}", Literal[""], none) for number in range(len(_SPELLINGS))]
    names = {f"spelling_{number}": spelling for number, spelling in enumerate(_SPELLINGS)} | {"inputs_": "inputs"}
    strict = msgspec.defstruct(members.__name__, fields, bases=(members,), rename=names)
    return msgspec.json.Decoder(cast("type[Members]", strict))


_MEMBERS, _COUNTED = _decoder(Members), _decoder(CountedMembers)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_LIST = re.compile(rb'\s*\[\s*["\[{]')
"""Begin of an array of texts, objects or arrays."""
_ESCAPED = re.compile(rb"\\u00[46]")
"""Begin of each escape that can spell a letter of `model`."""
_RAW = ("input", "documents", "text_2", "inputs", "texts")


def read(body: bytes, *, counted: bool = False) -> Members:
    """Return the members of a JSON object that the gateway reads. `counted`: the body has inputs to count.

    Raises Unreadable when the body is no JSON object, has `model` in other letters, is nested too deeply, or has more
    than MOST_QUOTES quotes.
    """
    if len(body) > SMALL and body.count(b'"') > MOST_QUOTES:
        raise Unreadable(f"the body has more than {MOST_QUOTES // 2:,} strings")
    try:
        return (_COUNTED if counted else _MEMBERS).decode(body)
    except RecursionError as error:
        raise Unreadable("the body is nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _read_again(body, counted)


def _read_again(body: bytes, counted: bool) -> Members:
    """Read a body as Python's parser does, which accepts NaN, a byte order mark and half a surrogate pair."""
    if len(body) <= SMALL:
        json_scan.parse(body)
    found = CountedMembers() if counted else Members()
    for member in json_scan.members(body):
        if member.name != "model" and member.name.lower() == "model":
            raise Unreadable(f'the body has a member "{member.name}"; write "model" in small letters')
        if counted and member.name in _RAW:
            raw = msgspec.Raw(body[member.start : member.end])
            setattr(found, "inputs_" if member.name == "inputs" else member.name, raw)
        elif member.name in Members.__struct_fields__:
            short = member.end - member.start <= LONGEST_VALUE
            setattr(found, member.name, json_scan.value(body, member) if short else None)
    return found


def names_model(body: bytes) -> bool:
    """Return whether a body that cannot be read may have a member `model`, in whichever letters."""
    return b'"model"' in body.lower() or _ESCAPED.search(body) is not None


def _length(raw: msgspec.Raw) -> int:
    if _LIST.match(memoryview(raw)) is None:
        return 1
    try:
        return max(len(_ARRAY.decode(raw)), 1)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 1
