"""Signature Version 4 beside the vectors that AWS publishes, and access keys from files and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.signing import Key, signed
from collectors.errors import ScrapeError
from tests.fakes.cloud_accounts import moment

VECTOR_KEY = Key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
AT = moment("2015-08-30T12:36")


@pytest.mark.parametrize(
    ("headers", "body", "names", "signature"),
    [  # post-vanilla and post-x-www-form-urlencoded of AWS's aws-sig-v4-test-suite
        ({}, b"", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
)
def test_the_published_vectors_hold(headers: dict[str, str], body: bytes, names: str, signature: str) -> None:
    made = signed(VECTOR_KEY, "service", "us-east-1", "example.amazonaws.com", headers, body, AT)
    assert made == {
        **headers,
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}",
    }


def test_a_session_token_is_signed_as_the_library_of_aws_does() -> None:
    key = Key(VECTOR_KEY.id, VECTOR_KEY.secret, "TOKEN==")
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "GraniteServiceVersion20100801.GetMetricData",
    }
    made = signed(key, "service", "us-east-1", "example.amazonaws.com", headers, b'{"a": 1}', AT)
    assert made["X-Amz-Security-Token"] == "TOKEN=="
    assert made["Authorization"].endswith(
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, "
        "Signature=c37f9b1ce635ed11f0b4e314a136355ad49b02006ad9804d5dabaa85e633dd81"  # botocore 1.44.8
    )


def test_a_key_is_read_from_a_profile_of_a_shared_file_and_does_not_show_itself(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = A1\naws_secret_access_key = s%3D/+\n"
        "[prod]\naws_access_key_id=A2\naws_secret_access_key=s2\naws_session_token=t2\n"
    )
    assert KeyPlace(str(file)).read() == Key("A1", "s%3D/+")
    assert KeyPlace(str(file), "prod").read() == Key("A2", "s2", "t2")
    assert "s2" not in repr(KeyPlace(str(file), "prod").read())


def test_a_key_is_read_from_the_environment_at_each_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s1")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    assert KeyPlace().read() == Key("A1", "s1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t1")
    assert KeyPlace().read() == Key("A1", "s1", "t1")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ScrapeError, match=r"AWS_SECRET_ACCESS_KEY is not set in the environment \(AWS_ACCESS_KEY_ID\)"):
        KeyPlace().read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aws_secret_access_key = hidden\n", "is no shared credentials file of AWS"),
        ("[default]\nhidden\n", "is no shared credentials file of AWS"),
        ("[other]\naws_secret_access_key = hidden\n", "has no profile default"),
        ("[default]\naws_secret_access_key = hidden\n", "aws_access_key_id is not set in profile default of"),
        ("[default]\naws_access_key_id = A\naws_secret_access_key = hidden\x01\n", "holds a character that no key has"),
    ],
)
def test_a_wrong_file_is_told_without_its_secrets(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "credentials"
    file.write_text(text)
    with pytest.raises(ScrapeError, match=message) as told:
        KeyPlace(str(file)).read()
    assert "hidden" not in str(told.value)
    assert told.value.__cause__ is None


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScrapeError, match=r"cannot read the credentials file .*gone: No such file"):
        KeyPlace(str(tmp_path / "gone")).read()
