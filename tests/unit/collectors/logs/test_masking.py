"""What is shown of a line: no prompt, no key, no address."""

from __future__ import annotations

import pytest

from collectors.logs.masking import SHOWN, masked

HIDDEN = [
    (
        "(APIServer pid=1) ERROR 05-12 01:48:42 [logger.py:41] Received request c-1: prompt: 'My name is Ada', params",
        "(APIServer pid=1) ERROR 05-12 01:48:42 [logger.py:41] Received request c-1: prompt: ***",
    ),
    ('{"model":"chat","messages":[{"role":"user","content":"a \\"secret\\" plan"}]}', '{"model":"chat","messages":***'),
    ('{\\"prompt\\": \\"a secret plan\\"}', '{\\"prompt\\": ***'),
    ('GenerateRequest { inputs: "My name is Olivier", parameters: x }', "GenerateRequest { inputs: ***"),
    ("GenerateReqInput(rid='1', text='a secret plan', n=1)", "GenerateReqInput(rid='1', text=***"),
    ("input_ids=[1, 2, 3]", "input_ids=***"),
    ("Incorrect API key provided: sk-proj-Ab12_Cd34Ef56Gh78.", "Incorrect API key provided: ***."),
    ("401 for sk-ant-api03-Zz99Yy88Xx77Ww66", "401 for ***"),
    ("header Authorization: Bearer abcdef0123456789 refused", "header Authorization: *** refused"),
    ("sent Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl now", "sent *** now"),
    ("cookie eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "cookie ***"),
    ("HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrSt", "HF_TOKEN=***"),
    ("token hf_AbCdEfGhIjKlMnOpQrSt is not valid", "token *** is not valid"),
    ("AKIAIOSFODNN7EXAMPLE cannot read s3://models", "*** cannot read s3://models"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = ***"),
    ("api_key='0123456789abcdef', api_base=x", "api_key=***, api_base=x"),
    ('"password": "hunter2 and more"}', '"password": ***}'),
    ("GET http://user:pass@10.0.0.1:8000/v1", "GET http://***@10.0.0.1:8000/v1"),
    ("user ada.lovelace@example.co.uk is over her quota", "user *** is over her quota"),
    ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "***"),
    ("nvapi-0123456789abcdef_ghij", "***"),
]

SHOWN_AS_IS = [
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 50.00 MiB. GPU 0 has a total capacity of 23.56 GiB",
    "[2026-09-13 16:06:07 TP0] KV cache pool is full. Retract requests. #retracted_reqs: 1, #ratio: 0.09 -> 0.34",
    '10.1.6.81:16983 - "POST /v1/chat/completions HTTP/1.1" 500 Internal Server Error',
    "NVRM: Xid (PCI:0000:44:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    "Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.",
    "Worker proc VllmWorker-0 died unexpectedly, shutting down executor.",
]


@pytest.mark.parametrize(("line", "shown"), HIDDEN)
def test_texts_keys_and_addresses_are_hidden(line: str, shown: str) -> None:
    assert masked(line) == shown


@pytest.mark.parametrize("line", SHOWN_AS_IS)
def test_the_fault_itself_stays_readable(line: str) -> None:
    assert masked(line) == line


def test_a_line_is_cut_and_its_control_characters_are_left_out() -> None:
    assert masked("a\x1b[31m\tb\x00") == "a [31m b "
    assert masked("x" * 10_000) == "x" * SHOWN + "…"


def test_a_mask_is_fast_on_a_hostile_line() -> None:
    masked("a@" * 30_000)
    masked('"prompt' * 10_000)
    masked("a." * 1000 + "@" + "a-" * 1000)
