"""A running control plane whose targets and lists of targets want tokens of an issuer, which changes the secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.oauth_issuer import CLIENT, SECRET, OAuthIssuer
from tests.patience import HANG_S
from tests.scenario.up import LOG, TOKEN, ask, up

FLEET = """\
fleet: {{name: test}}
scrape: {{interval: 1s, timeout: 1s}}
targets:
  - {{engine: vllm, addresses: ["{address}"], labels: {{model: chat}}, oauth2: &issuer {oauth2}}}
  - engine: vllm
    labels: {{model: listed}}
    oauth2: *issuer
    http_sd: [{{url: "{url}/list", refresh_interval: 1s, oauth2: *issuer}}]
  - {{prometheus_config: prometheus.yml, engine: vllm}}
"""
JOBS = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: mine
    static_configs: [{{targets: ["{address}"], labels: {{model: mine}}}}]
    metrics_path: /metrics
    params: {{of: [prometheus]}}
    oauth2: {{client_id: "{client}", client_secret_file: secret, token_url: "{url}/token"}}
"""


@pytest.fixture
async def issuer() -> AsyncIterator[OAuthIssuer]:
    async with OAuthIssuer() as issuer:
        yield issuer


async def targets(port: int) -> dict[str, Any]:
    """Return the targets that have a label `model`, by it."""
    _, _, body = (await ask(port, "/cp/v1/targets", TOKEN)).partition(b"\r\n\r\n")
    return {one["labels"]["model"]: one for one in json.loads(body)["items"] if "model" in one["labels"]}


async def until_all(port: int, happened: Callable[[dict[str, Any]], bool]) -> dict[str, dict[str, Any]]:
    """Return the targets once each of the three is as it should be."""
    async with asyncio.timeout(HANG_S):
        while True:
            found = await targets(port)
            if len(found) == 3 and all(map(happened, found.values())):
                return found
            await asyncio.sleep(0.1)


async def test_targets_come_up_tell_a_wrong_secret_and_come_back_with_the_new_one(
    issuer: OAuthIssuer, tmp_path: Path
) -> None:
    address = issuer.url.removeprefix("http://")
    issuer.lists = [{"targets": [address], "labels": {"__param_of": "list"}}]
    issuer.answer = {"token_type": "Bearer", "expires_in": 1}
    (tmp_path / "secret").write_text(SECRET)
    oauth2 = {"client_id": CLIENT, "client_secret_file": "secret", "token_url": f"{issuer.url}/token"}
    (tmp_path / "prometheus.yml").write_text(JOBS.format(address=address, client=CLIENT, url=issuer.url))
    fleet = FLEET.format(address=address, oauth2=json.dumps(oauth2), url=issuer.url)
    async with up(tmp_path, fleet) as (_, port):
        await until_all(port, lambda target: target["health"] == "up")
        issuer.secret = "n3w"
        issuer.accepted.clear()
        down = await until_all(port, lambda target: "no token" in target["last_error"])
        told = {one["last_error"] for one in down.values()}
        assert told == {
            "oauth2: no token from 127.0.0.1: status 401 invalid_client: the issuer does not accept client_id and the"
            " client secret; give the client's current ones"
        }
        (tmp_path / "secret").write_text("n3w\n")
        await until_all(port, lambda target: target["health"] == "up")
    log = (tmp_path / LOG).read_text()
    assert "Traceback" not in log
    assert not any(secret in log for secret in (SECRET, "n3w", "token-"))
