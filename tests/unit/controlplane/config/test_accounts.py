"""Accounts at providers in fleet.yaml: their keys, their URLs, and their budgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.errors import ConfigErrors
from tests.fakes.fleet_text import parse_fleet

KEY = "authorization: {credentials_env: KEY}"


def faults(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "fleet.yaml"
    try:
        parse_fleet("fleet: {name: f}\n" + text, path)
    except ConfigErrors as error:
        return [str(each).removeprefix(f"{path}:") for each in error.errors]
    return []


def test_an_account_needs_a_key_and_no_address(tmp_path: Path) -> None:
    text = """\
targets:
  - {engine: openai}
  - {engine: anthropic, addresses: ["a:1"], authorization: {credentials_env: KEY}}
  - {engine: openai, labels: {job: two}, urls: ["https://proxy.example"], authorization: {credentials_env: KEY}}
  - {engine: vllm, urls: ["http://a:1"]}
"""
    assert faults(tmp_path, text) == [
        "3: targets[0]: engine openai needs a key: authorization: with credentials_file: or credentials_env:",
        "4: targets[1].addresses: is not for engine anthropic; use urls: [...]",
        "6: targets[3]: engine vllm needs addresses: [host:port], file_sd: [files] "
        "or one of http_sd:, dns_sd:, consul_sd:, docker_sd:, kubernetes_sd:",
        "6: targets[3].urls: is for engine probe; use addresses: [host:port]",
    ]


def test_a_cloud_needs_its_place_and_keys_of_its_own_kind(tmp_path: Path) -> None:
    text = """\
targets:
  - {engine: bedrock, aws: {region: eu-west-1, credentials_file: keys, profile: prod}}
  - {engine: sagemaker, aws: {region: us-gov-west-1}}
  - {engine: bedrock}
  - {engine: bedrock, aws: {region: Ireland}}
  - {engine: sagemaker, aws: {region: eu-west-1}, addresses: ["a:1"], authorization: {credentials_env: KEY}}
  - {engine: openai, aws: {region: eu-west-1}, authorization: {credentials_env: KEY}}
  - {engine: azure-openai}
  - {engine: azure-openai, azure: {tenant: a/b, client: c, resource: chat}, authorization: {credentials_env: KEY}}
  - {engine: vertex}
  - {engine: vertex, google: {project: p, key_file: k}, authorization: {credentials_env: KEY}}
"""
    assert faults(tmp_path, text) == [
        "5: targets[2]: engine bedrock needs aws: {region: eu-west-1}, with the region of the models",
        "6: targets[3].aws.region: expected a region of AWS such as eu-west-1, got 'Ireland'",
        "7: targets[4].addresses: is not for engine sagemaker; use urls: [...]",
        "7: targets[4].authorization: is not for engine sagemaker; use aws: with credentials_file:",
        "8: targets[5].aws: is for engine bedrock or sagemaker; remove it",
        "9: targets[6]: engine azure-openai needs a key: authorization: with credentials_file: or credentials_env:",
        "9: targets[6]: engine azure-openai needs azure: {tenant: …, client: …, resource: /subscriptions/…}",
        "10: targets[7].azure.resource: expected /subscriptions/ID/resourceGroups/GROUP/providers/"
        "Microsoft.CognitiveServices/accounts/NAME, got 'chat'",
        "10: targets[7].azure.tenant: expected an id such as 72f988bf-86f1-41af-91ab-2d7cd011db47, or a domain, "
        "got 'a/b'",
        "11: targets[8]: engine vertex needs google: {project: …, key_file: …}",
        "12: targets[9].authorization: is not for engine vertex; use google: with key_file:",
    ]


def test_an_identity_has_the_fields_of_its_kind_alone(tmp_path: Path) -> None:
    resource = "resource: /subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"
    text = f"""\
targets:
  - {{engine: bedrock, aws: {{region: eu-west-1, identity: web_identity}}}}
  - {{engine: azure-openai, azure: {{identity: workload_identity, {resource}}}}}
  - {{engine: azure-openai, azure: {{identity: managed_identity, client: c, {resource}}}}}
  - {{engine: vertex, google: {{project: p, identity: metadata_server}}}}
  - {{engine: vertex, google: {{project: p, identity: external_account, credentials_file: f}}}}
  - {{engine: bedrock, aws: {{region: eu-west-1, identity: chain}}}}
  - {{engine: bedrock, aws: {{region: eu-west-1, identity: instance, credentials_file: f, profile: q}}}}
  - {{engine: azure-openai, azure: {{{resource}}}, {KEY}}}
  - {{engine: azure-openai, azure: {{identity: managed_identity, tenant: t, {resource}}}, {KEY}}}
  - {{engine: vertex, google: {{project: p}}}}
  - {{engine: vertex, google: {{project: p, identity: external_account, key_file: f}}}}
  - {{engine: vertex, google: {{project: p, identity: metadata_server, key_file: f}}}}
"""
    assert faults(tmp_path, text) == [
        "8: targets[5].aws.identity: expected one of: access_key, web_identity, container, instance; got 'chain'",
        "9: targets[6].aws.credentials_file: is not for identity instance, which has no file; remove it",
        "9: targets[6].aws.profile: is not for identity instance, which has no file; remove it",
        "10: targets[7].azure.client: is required for identity client_secret",
        "10: targets[7].azure.tenant: is required for identity client_secret",
        "11: targets[8].authorization: is not for an azure.identity without a secret; remove it",
        "11: targets[8].azure.tenant: is not for identity managed_identity, which belongs to one tenant; remove it",
        "12: targets[9].google.key_file: is required for identity service_account",
        "13: targets[10].google.credentials_file: is required for identity external_account",
        "13: targets[10].google.key_file: is not for identity external_account; use credentials_file:",
        "14: targets[11].google.key_file: is not for identity metadata_server, which has no file; remove it",
    ]


def test_a_billing_table_is_a_whole_name_and_lets_a_budget_name_the_account(tmp_path: Path) -> None:
    text = """\
targets:
  - {engine: vertex, google: {project: p, identity: metadata_server, billing_table: "p`; DROP TABLE x"}}
  - {engine: vertex, labels: {job: b}, google: {project: p, identity: metadata_server, billing_table: p.d.t_1}}
cost: {gpu_hour_usd: 1, budgets: [{account: b, monthly_usd: 5}]}
"""
    assert [line for line in faults(tmp_path, text) if "models" not in line] == [
        "3: targets[0].google.billing_table: expected PROJECT.DATASET.TABLE such as "
        "billing.export.gcp_billing_export_v1_01AB23_45CD67, got 'p`; DROP TABLE x'"
    ]


def test_quotas_are_of_bedrocks_models_by_their_codes(tmp_path: Path) -> None:
    text = """\
targets:
  - {engine: bedrock, aws: {region: eu-west-1, quotas: {amazon.nova-lite-v1:0: [L-254CACF4]}}}
  - {engine: bedrock, aws: {region: eu-west-1, quotas: {m: [tokens]}}}
  - {engine: sagemaker, aws: {region: eu-west-1, quotas: {m: [L-254CACF4]}}}
"""
    assert faults(tmp_path, text) == [
        "4: targets[1].aws.quotas.m[0]: expected the code of a quota such as L-254CACF4, got 'tokens'",
        "5: targets[2].aws.quotas: is for engine bedrock; remove it",
    ]


def test_an_account_without_costs_has_no_budget(tmp_path: Path) -> None:
    text = """\
targets: [{engine: bedrock, aws: {region: eu-west-1}}]
cost: {gpu_hour_usd: 1, budgets: [{account: bedrock, monthly_usd: 5}]}
"""
    assert [line for line in faults(tmp_path, text) if "models" not in line] == [
        "3: cost.budgets[0].account: 'bedrock' is not one of accounts (targets with the engine openai or "
        "anthropic, or of a cloud whose costs are read): there are none"
    ]
    assert [
        line for line in faults(tmp_path, text.replace("eu-west-1", "eu-west-1, costs: true")) if "models" not in line
    ] == []
    assert [
        line for line in faults(tmp_path, text.replace("eu-west-1", "cn-north-1, costs: true")) if "costs" in line
    ] == ["2: targets[0].aws.costs: AWS in China has another Cost Explorer, which is not known here; remove it"]


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ("{account: openai, monthly_usd: 5}", []),
        ("{account: research, monthly_usd: 5}", []),
        (
            "{account: anthropic, monthly_usd: 5}",
            [
                "5: cost.budgets[0].account: 'anthropic' is not one of accounts (targets with the engine openai or "
                "anthropic, or of a cloud whose costs are read): openai, research"
            ],
        ),
        ("{monthly_usd: 5}", ["5: cost.budgets[0]: needs one of model:, account:"]),
        ("{model: m, account: openai, monthly_usd: 5}", ["5: cost.budgets[0]: needs one of model:, account:"]),
        (
            "{account: openai, monthly_usd: 5}, {account: openai, monthly_usd: 6}",
            ["5: cost.budgets[1].account: 'openai' is taken by budgets[0]"],
        ),
    ],
)
def test_a_budget_is_of_a_model_or_of_an_account(tmp_path: Path, budgets: str, expected: list[str]) -> None:
    text = f"""\
targets:
  - {{engine: openai, {KEY}}}
  - {{engine: anthropic, labels: {{job: research}}, {KEY}}}
cost: {{gpu_hour_usd: 1, budgets: [{budgets}]}}
"""
    found = faults(tmp_path, text)
    assert [line for line in found if "models" not in line] == expected
