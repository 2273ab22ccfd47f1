"""`trusted_proxies`: addresses, networks, and refused values."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from controlplane.errors import ConfigErrors
from tests.fakes.fleet_text import parse_fleet

FLEET = "fleet: {name: x}\ntrusted_proxies: "


def test_addresses_and_networks_are_taken(tmp_path: Path) -> None:
    fleet = parse_fleet(FLEET + '[10.0.0.5, 10.1.0.0/16, "2001:db8::/48", "::1"]', tmp_path / "fleet.yaml")
    assert fleet.trusted_proxies == tuple(map(ip_network, ["10.0.0.5/32", "10.1.0.0/16", "2001:db8::/48", "::1/128"]))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("nginx", "expected an address such as 10.0.0.5, or a network such as 10.0.0.0/8, got 'nginx'"),
        ("10.0.0.5/8", "10.0.0.5/8 is an address within a network: did you mean 10.0.0.0/8?"),
        ("0.0.0.0/0", "0.0.0.0/0 would trust everybody; name the addresses of the proxies"),
        ('"::/0"', "::/0 would trust everybody; name the addresses of the proxies"),
        ("5", "expected an address such as 10.0.0.5, or a network such as 10.0.0.0/8, got 5"),
        ('""', "expected an address such as 10.0.0.5, or a network such as 10.0.0.0/8, got ''"),
    ],
)
def test_what_is_no_proxy_is_refused_with_its_place(entry: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as raised:
        parse_fleet(f"{FLEET}[10.0.0.5, {entry}]", tmp_path / "fleet.yaml")
    assert str(raised.value) == f"{tmp_path}/fleet.yaml:2: trusted_proxies[1]: {message}"
