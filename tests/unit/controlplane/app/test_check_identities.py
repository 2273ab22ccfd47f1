"""`check` on identities for clouds: files that are no keys, and an environment that lacks what an identity needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.app.check import inspect_file
from tests.fakes.cloud_google import FakeGoogle

RESOURCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"
NAMES = (
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE "
    "AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_CREDENTIALS_RELATIVE_URI "
    "AZURE_TENANT_ID AZURE_CLIENT_ID AZURE_FEDERATED_TOKEN_FILE"
)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES.split():
        monkeypatch.delenv(name, raising=False)


def told(folder: Path, target: str) -> list[str]:
    path = folder / "fleet.yaml"
    path.write_text(f"fleet: {{name: a}}\ntargets:\n  - {target}\n")
    found = [str(finding) for finding in inspect_file(path).findings]
    return [line.replace(f"{folder}/", "").removeprefix("fleet.yaml:3: warning: targets[0].") for line in found]


def vertex(file: Path, field: str = "key_file", identity: str = "service_account") -> str:
    return f"{{engine: vertex, google: {{project: p, identity: {identity}, {field}: {file}}}}}"


WANTED = "; it has to be the key of a service account: gcloud iam service-accounts keys create"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read the key file key: No such file or directory"),
        ("", f"the key file key is empty{WANTED}"),
        ("-----BEGIN PRIVATE KEY-----", f"the key file key is not JSON{WANTED}"),
        ("{}", f"key has no type, not service_account{WANTED}"),
        ('{"type": "authorized_user"}', f"key has the type authorized_user, not service_account{WANTED}"),
        (
            '{"type": "external_account"}',
            "key has the type external_account, not service_account; "
            "set google.identity: external_account and google.credentials_file:",
        ),
        (
            '{"type": "service_account", "client_email": "a", "token_uri": "https://h"}',
            "key has no private_key; create the file again and change nothing in it",
        ),
        (
            '{"type": "service_account", "client_email": "a", "token_uri": "https://h", "private_key": "hidden"}',
            "the private_key in key cannot be parsed; create the key again: line breaks in it are \\n, "
            "and all of it belongs there",
        ),
    ],
)
def test_a_file_that_is_no_key_is_told_with_the_cure(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    assert told(tmp_path, vertex(tmp_path / "key")) == [f"google.key_file: {says}"]


def test_a_key_of_another_kind_is_told_and_a_good_one_is_not(tmp_path: Path) -> None:
    google = FakeGoogle()
    google.url = "https://token.example"
    google.write_key(tmp_path / "key")
    assert told(tmp_path, vertex(tmp_path / "key")) == []
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    good = json.loads((tmp_path / "key").read_text())
    (tmp_path / "key").write_text(json.dumps({**good, "private_key": pem}))
    assert told(tmp_path, vertex(tmp_path / "key")) == [
        "google.key_file: the key in key is no RSA key; create another for the service account"
    ]


def test_an_external_account_and_its_token_are_looked_at(tmp_path: Path) -> None:
    described = {
        "type": "external_account",
        "audience": "//iam",
        "subject_token_type": "jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(tmp_path / "proof")},
    }
    (tmp_path / "key").write_text(json.dumps(described))
    target = vertex(tmp_path / "key", "credentials_file", "external_account")
    assert told(tmp_path, target) == [
        "google.credentials_file: cannot read the token file proof: No such file or directory"
    ]
    (tmp_path / "proof").write_text("token")
    assert told(tmp_path, target) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read the credentials file keys: No such file or directory"),
        ("", "keys has no profile default"),
        ("aws_access_key_id = hidden", "keys is no shared credentials file of AWS: [profile] and lines key = value"),
        ("[default]\naws_access_key_id = a", "aws_secret_access_key is not set in profile default of keys"),
    ],
)
def test_a_file_without_an_access_key_is_told(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "keys").write_text(content)
    target = f"{{engine: bedrock, aws: {{region: eu-west-1, credentials_file: {tmp_path}/keys}}}}"
    assert told(tmp_path, target) == [f"aws.credentials_file: {says}"]


def aws(identity: str) -> str:
    return f"{{engine: bedrock, aws: {{region: eu-west-1, identity: {identity}}}}}"


def test_an_environment_without_what_an_identity_needs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azure = f"{{engine: azure-openai, azure: {{identity: workload_identity, resource: {RESOURCE}}}}}"
    pod = "EKS sets it for a pod whose service account has the annotation eks.amazonaws.com/role-arn"
    label = 'AKS sets it for a pod with the label azure.workload.identity/use: "true"'
    assert [told(tmp_path, target) for target in (*map(aws, ("access_key", "web_identity", "container")), azure)] == [
        ["aws.identity: AWS_ACCESS_KEY_ID is not set in the environment (AWS_ACCESS_KEY_ID)"],
        [f"aws.identity: AWS_ROLE_ARN is not set in the environment; {pod}"],
        [
            "aws.identity: AWS_CONTAINER_CREDENTIALS_FULL_URI is not set in the environment; EKS sets it for a pod "
            "whose service account has a role; ECS sets AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
        ],
        [
            f"azure.identity: AZURE_FEDERATED_TOKEN_FILE is not set in the environment; {label}",
            f"azure.identity: AZURE_TENANT_ID is not set in the environment; {label}",
        ],
    ]
    (tmp_path / "token").write_text("token")
    for name in NAMES.split():
        monkeypatch.setenv(name, str(tmp_path / "token") if name.endswith("FILE") else "/x")
    assert [told(tmp_path, target) for target in (*map(aws, ("access_key", "web_identity", "container")), azure)] == [
        [],
        [],
        [],
        [],
    ]


@pytest.mark.parametrize(
    "target",
    [
        aws("instance"),
        f"{{engine: azure-openai, azure: {{identity: managed_identity, resource: {RESOURCE}}}}}",
        "{engine: vertex, google: {project: p, identity: metadata_server}}",
    ],
)
def test_an_identity_of_the_host_needs_nothing_here(tmp_path: Path, target: str) -> None:
    assert told(tmp_path, target) == []
