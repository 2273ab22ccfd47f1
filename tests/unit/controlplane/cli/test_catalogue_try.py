"""`controlplane catalogue try`: pages of files and servers, and every way in which a server fails."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import pytest

from controlplane.cli.main import run
from tests.fakes.on_a_thread import serving
from tests.patience import HANG_S

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures"
VLLM = FIXTURES / "captures" / "vllm-0.32-cpu.prom"
RAY = FIXTURES / "captures" / "ray-serve-2.60.prom"
HTML = b"<!doctype html><html><body>Sign in</body></html>"
OLLAMA = b'{"models":[{"name":"llama3:latest","digest":"ab","size":1}]}'


class Page(http.server.BaseHTTPRequestHandler):
    """Answers each GET with `body`, keeps what was asked, and may hang until the test ends."""

    body: ClassVar[bytes] = b""
    status: ClassVar[int] = 200
    asked: ClassVar[list[tuple[str, str | None]]] = []
    hangs: ClassVar[threading.Event | None] = None

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        if self.hangs:
            self.hangs.wait(HANG_S)
        with suppress(ConnectionError):  # a client that has given up
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(self.body)))
            self.end_headers()
            self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def page(
    body: bytes = b"", status: int = 200, hangs: threading.Event | None = None
) -> Iterator[tuple[str, type[Page]]]:
    handler = type("Answer", (Page,), {"body": body, "status": status, "hangs": hangs, "asked": []})
    with serving(handler) as address:
        yield address, handler


def tried(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], str]:
    code = run(["catalogue", "try", *words])
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err.strip()


def test_a_file_of_a_known_engine_is_told_with_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, err = tried(capsys, str(VLLM))
    assert (code, err) == (0, "")
    assert lines[0] == f"{VLLM}: vllm, 384 samples"
    rows = {line.split()[0]: line.split(maxsplit=3)[1:] for line in lines[2:]}
    assert rows["llm_requests_total"] == ["counter", "7", "aborted 0, error 0, rejected 0, success 42"]
    assert rows["llm_request_duration_seconds"] == ["histogram", "1", "42 counted, mean 0.5031 s"]


def test_what_a_page_lacks_and_does_not_tell_apart_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.prom"
    file.write_text('vllm:num_requests_running{replica="a"} 1\nvllm:num_requests_running{replica="b"} 2\n')
    _, lines, _ = tried(capsys, str(file))
    assert lines[0] == f"{file}: vllm, 2 samples"
    assert lines[2].split() == ["llm_requests_running", "gauge", "2", "1", "to", "2"]
    assert lines[3].startswith(
        "lacks what every installation of vllm should expose: llm_requests_total, llm_request_dur"
    )
    assert lines[4] == "unknown labels keep series apart: llm_requests_running: replica"


def test_a_draft_goes_round_into_a_catalogue_and_is_recognised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "page.prom"
    own.write_text(RAY.read_text().replace("ray_serve_", "our_server_"))
    code, lines, err = tried(capsys, str(own))
    assert (code, lines[1]) == (0, "  our-server:   # check: the name")
    assert "no known engine, " in lines[0]
    assert err == "draft of an entry under engines: of collectors/catalogue/catalogue.yaml"
    catalogue = tmp_path / "catalogue.yaml"
    built_in = (Path(__file__).parents[4] / "collectors/catalogue/catalogue.yaml").read_text()
    catalogue.write_text(built_in + "\n".join(["", *lines[1:], ""]))
    _, lines, _ = tried(capsys, str(own), "--catalogue", str(catalogue))
    assert lines[0].startswith(f"{own}: our-server, ")
    assert [line.split()[0] for line in lines[2:6]] == [
        "llm_request_duration_seconds",
        "llm_requests_total",
        "llm_requests_running",
        "llm_requests_waiting",
    ]


def test_the_result_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "try", str(VLLM), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["engine"], found["missing"], found["draft"], found["samples"]) == ("vllm", [], "", 384)
    assert {"metric": "llm_requests_running", "type": "gauge", "series": 1, "value": "0"} in found["metrics"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "an empty page"),
        (
            b"process_cpu_seconds_total 1\n",
            "no known engine, 1 sample of nothing but its process: it may have just started",
        ),
        (
            b"node_load1 1\nnode_load5 1\n",
            "no known engine, 2 samples, with metrics of node_exporter: not a server of models",
        ),
        (b"zebra 1\n", "no known engine, 1 sample, with metrics of zebra: not a server of models"),
    ],
)
def test_a_page_of_no_engine_says_what_it_looks_like(
    body: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.prom"
    file.write_bytes(body)
    assert tried(capsys, str(file)) == (0, [f"{file}: {words}"], "")


def test_an_address_is_read_once_with_its_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    with page(VLLM.read_bytes()) as (address, handler):
        code, lines, _ = tried(capsys, f"http://{address}", "--token-file", str(tmp_path / "token"))
        assert (code, lines[0]) == (0, f"http://{address}: vllm, 384 samples")
        assert handler.asked == [("/metrics", "Bearer s3cret")]
        tried(capsys, f"http://{address}/prometheus/metrics?model=x")
        assert handler.asked[1:] == [("/prometheus/metrics?model=x", None)]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (
            HTML,
            200,
            "the body is a page of HTML, not metrics: check path:, and whether a proxy or a sign-in page answers",
        ),
        (b'{"a": 1}', 200, "the body is JSON, not metrics: check path:"),
        (OLLAMA, 200, "the body is Ollama's list of models; Ollama has no page of metrics, so ask it by a probe"),
        (b"[]", 200, "the body is a list, as /metrics of TensorRT-LLM is: each read empties it. Its metrics are at"),
        (b"up one\n", 200, "line 1"),
        (b"", 404, "404"),
        (b"a 1\n" * 2**22 + b"a", 200, "16777216"),
    ],
)
def test_a_page_that_is_no_metrics_is_told_in_our_words(
    body: bytes, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with page(body, status) as (address, _):
        code, lines, err = tried(capsys, f"http://{address}/metrics")
    assert (code, lines) == (1, [])
    assert err.startswith(f"controlplane: http://{address}/metrics: ")
    assert words in err


def test_a_server_that_hangs_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    with page(hangs=done) as (address, _):
        code, _, err = tried(capsys, f"http://{address}/metrics", "--timeout", "1")
        done.set()
    assert (code, err) == (1, f"controlplane: http://{address}/metrics: timed out after 1s (connected, no headers yet)")


def test_a_certificate_is_checked_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, "-subj", "/CN=a", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    class Secure(Page):
        body = b"vllm:num_requests_running 1\n"
        asked: ClassVar[list[tuple[str, str | None]]] = []

        def setup(self) -> None:
            self.request = context.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
            super().setup()

        def handle(self) -> None:
            with suppress(OSError):  # a client that refuses the certificate breaks off
                super().handle()

        def finish(self) -> None:
            super().finish()
            self.request.close()

    with serving(Secure) as address:
        url = f"https://{address}/metrics"
        code, _, err = tried(capsys, url)
        assert code == 1
        assert err.startswith(f"controlplane: {url}: TLS certificate refused: self-signed certificate")
        assert tried(capsys, url, "--insecure")[0] == 0
        assert tried(capsys, url, "--ca-file", str(cert))[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["nope.prom"],
            "nope.prom: cannot be read: No such file or directory; an address begins with http:// or https",
        ),
        (["127.0.0.1:9000"], "127.0.0.1:9000: cannot be read: No such file or directory; an address begins with http"),
        (["ftp://h/x"], "expected http://HOST:PORT/PATH, https://HOST:PORT/PATH or the path of a file"),
        (["http://h:x/"], "expected http://HOST:PORT/PATH"),
        (["http://"], "expected http://HOST:PORT/PATH"),
        ([str(VLLM), "--catalogue", "nope.yaml"], "nope.yaml: No such file or directory"),
        ([str(VLLM), "--timeout", "0"], "--timeout 0: expected a whole number from 1 to 300"),
    ],
)
def test_a_wrong_command_line_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, err = tried(capsys, *words)
    assert (code, lines) == (2, [])
    assert told in err


@pytest.mark.parametrize("path", ["/flush_cache", "/start_profile/", "/perf_metrics", "/v1/reset", "/-/quit"])
def test_a_path_that_engines_act_on_is_not_read(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with page(b"vllm:num_requests_running 1\n") as (address, handler):
        code, _, err = tried(capsys, f"http://{address}{path}")
        assert (code, handler.asked) == (2, [])
        assert "is not read: engines act on a path such as /" in err
        assert tried(capsys, f"http://{address}{path}", "--any-path")[0] == 0
        assert handler.asked == [(path, None)]


def test_a_password_in_an_address_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tried(capsys, "http://user:s3cret@127.0.0.1:1/metrics?key=s3cret")
    assert (code, err) == (1, "controlplane: http://…@127.0.0.1:1/metrics: connection refused")
