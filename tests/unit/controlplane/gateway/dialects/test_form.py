"""The model of a form is found wherever it is, and files pass byte for byte."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.dialects.asking import form
from controlplane.gateway.dialects.errors import Unreadable
from controlplane.gateway.refusal import Refusal
from tests.fakes.gateway_requests import DIALECTS, asked, backend, head, operation

AUDIO = "/v1/audio/transcriptions"


def encoded(fields: dict[str, str], file: bytes) -> tuple[bytes, str]:
    """Return (body, content type) as a real client encodes a form."""
    request = httpx.Request("POST", "http://x", data=fields, files={"file": ("a.wav", file)})
    return request.read(), request.headers["content-type"]


@given(st.binary(), st.booleans())
def test_a_file_passes_byte_for_byte(file: bytes, after: bool) -> None:
    body, content_type = encoded({"language": "en", "model": "whisper"}, file)
    if after:
        boundary = content_type.split("boundary=")[1]
        field = f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'.encode()
        assert field in body
        body = body.replace(field, b"", 1).replace(f"--{boundary}--".encode(), field + f"--{boundary}--".encode())
    ask = asked(AUDIO, body, content_type=content_type)
    assert (ask.model, ask.stream) == ("whisper", False)
    assert ask.prompt_bytes == len("enwhisper")
    _, out = DIALECTS.outgoing(ask, head("POST", AUDIO, content_type=content_type), body, backend("served-name"))
    assert out == body.replace(b"\r\n\r\nwhisper\r\n", b"\r\n\r\nserved-name\r\n")
    same = DIALECTS.outgoing(ask, head("POST", AUDIO, content_type=content_type), body, backend("whisper"))[1]
    assert same is body


def test_a_form_may_stream() -> None:
    body, content_type = encoded({"model": "whisper", "stream": "true"}, b"RIFF")
    assert asked(AUDIO, body, content_type=content_type).stream


def test_the_header_names_the_model_where_the_form_does_not() -> None:
    body, content_type = encoded({}, b"RIFF")
    assert asked(AUDIO, body, content_type=content_type, x_model="whisper").model == "whisper"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; boundary="a b:c"', "a b:c"),
        ("Multipart/Form-Data;charset=utf-8; Boundary=abc; x=y", "abc"),
    ],
)
def test_a_boundary_is_written_in_several_ways(content_type: str, boundary: str) -> None:
    body = f"--{boundary}\r\ncontent-disposition: form-data; name=model\r\n\r\nm\r\n--{boundary}--\r\n".encode()
    (part,) = form.parts(body, content_type.encode())
    assert (part.name, body[part.start : part.end], part.is_file) == (b"model", b"m", False)


def test_a_name_within_a_files_name_is_none() -> None:
    body = _part(b'form-data; filename="a;name=model"; name="file"')
    (part,) = form.parts(body, b"multipart/form-data; boundary=b")
    assert (part.name, part.is_file) == (b"file", True)


def _part(disposition: bytes) -> bytes:
    return b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\nm\r\n--b--"


HEAD = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "does not begin"),
        (b"--b", "does not end"),
        (b"--b" + HEAD + b"m", "does not end"),
        (b"--b" + HEAD + b"m\r\n--b", "does not end"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nm\r\n--b--", "no name"),
        (_part(b'form-data; name="x"; name="model"'), "several names"),
        (_part(b'form-data; filename="; name=x"; name="y"; name*=model'), "several names"),
        (_part(b"form-data; name=x\r\nContent-Disposition: form-data; name=model"), "several Content-Disposition"),
        (_part(b'form-data; filename="a"; name=model" x'), "malformed"),
        (b"--b\r\n" + b"x" * 9000 + HEAD + b"m\r\n--b--", "does not end"),
        (b"--b" + b"".join(HEAD + b"m\r\n--b" for _ in range(129)) + b"--", "more than 128 parts"),
    ],
)
def test_a_bad_form_is_refused_with_the_reason(body: bytes, fault: str) -> None:
    with pytest.raises(Unreadable, match=fault):
        form.parts(body, b"multipart/form-data; boundary=b")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"--b" + HEAD + b"m\r\n--b" + HEAD + b"n\r\n--b--", "the field model twice"),
        (b"--b" + HEAD + b"m" * 5000 + b"\r\n--b--", "longer than 4096 bytes"),
        (b"--b" + HEAD + b"\xff\r\n--b--", "not UTF-8"),
        (b"--b" + HEAD + b"\r\n--b--", "names no model"),
    ],
)
def test_a_bad_model_is_refused_with_the_reason(body: bytes, fault: str) -> None:
    fields = {"content_type": "multipart/form-data; boundary=b"}
    found = DIALECTS.read(operation("POST", AUDIO), head("POST", AUDIO, **fields), body)
    assert isinstance(found, Refusal) and fault in found.message


def test_two_boundaries_are_refused() -> None:
    with pytest.raises(Unreadable, match="two boundaries"):
        form.parts(b"--a\r\n", b"multipart/form-data; boundary=a; boundary=b")


def test_another_content_type_is_refused() -> None:
    found = DIALECTS.read(operation("POST", AUDIO), head("POST", AUDIO, content_type="application/json"), b"{}")
    assert isinstance(found, Refusal) and "multipart/form-data" in found.message
