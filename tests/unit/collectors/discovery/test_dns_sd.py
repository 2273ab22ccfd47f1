"""Addresses from real name servers of the tests, which refuse, truncate, forge, lie or say nothing.

The expected labels, search list and outcomes are those of the source of Prometheus's dns_sd.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import dns.rcode
import pytest

from collectors.discovery.dns_following import dns_follower
from collectors.discovery.dns_sd import DnsSd, RecordType
from collectors.discovery.entries import Entry
from collectors.discovery.resolv_conf import ResolvConf, names_of, parsed, read_resolv_conf
from collectors.errors import DiscoveryError
from tests.fakes.dns_server import DnsServer, dns_server
from tests.fakes.heard import Heard, heard_of

SRV = DnsSd(("_vllm._tcp.x.",))
A = DnsSd(("a.x.",), RecordType.A, 8000)


@pytest.fixture
async def server() -> AsyncIterator[tuple[DnsServer, ResolvConf]]:
    zone = {
        ("_vllm._tcp.x.", "SRV"): ["0 0 8001 g2.x.", "0 0 8000 g1.x."],
        ("a.x.", "A"): ["10.0.0.2", "10.0.0.1"],
        ("b.x.", "A"): ["10.0.0.9"],
    }
    async with dns_server(zone) as (running, port):
        yield running, ResolvConf(("127.0.0.1",), port=port)


Server = tuple[DnsServer, ResolvConf]


def following(sd: DnsSd, conf: ResolvConf) -> AbstractAsyncContextManager[Heard]:
    return heard_of(lambda means: dns_follower(sd, means, lambda: conf))


async def test_srv_records_become_addresses_with_the_labels_of_prometheus(server: Server) -> None:
    async with following(SRV, server[1]) as heard:
        assert heard.lists == [
            (
                Entry(
                    ("g1.x:8000",),
                    {
                        "__meta_dns_name": "_vllm._tcp.x.",
                        "__meta_dns_srv_record_target": "g1.x.",
                        "__meta_dns_srv_record_port": "8000",
                    },
                ),
                Entry(
                    ("g2.x:8001",),
                    {
                        "__meta_dns_name": "_vllm._tcp.x.",
                        "__meta_dns_srv_record_target": "g2.x.",
                        "__meta_dns_srv_record_port": "8001",
                    },
                ),
            )
        ]
        assert (heard.error, heard.slept, server[0].asked) == ("", [30.0], ["udp _vllm._tcp.x. SRV"])


@pytest.mark.parametrize(
    ("kind", "record", "address", "labels"),
    [
        (RecordType.A, "10.0.0.1", "10.0.0.1:8000", {}),
        (RecordType.AAAA, "fd00::1", "[fd00::1]:8000", {}),
        (RecordType.MX, "10 m.x.", "m.x:8000", {"__meta_dns_mx_record_target": "m.x."}),
        (RecordType.NS, "n.x.", "n.x:8000", {"__meta_dns_ns_record_target": "n.x."}),
    ],
)
async def test_every_other_type_has_the_port_of_the_settings(
    server: Server, kind: RecordType, record: str, address: str, labels: dict[str, str]
) -> None:
    server[0].zone = {("n.x.", kind): [record], ("n.x.", "CNAME"): ["other.x."]}
    async with following(DnsSd(("n.x.",), kind, 8000), server[1]) as heard:
        assert heard.lists == [(Entry((address,), {"__meta_dns_name": "n.x.", **labels}),)]


async def test_a_service_that_is_decidedly_not_there_has_no_address(server: Server) -> None:
    server[0].zone = {("_vllm._tcp.x.", "SRV"): ["0 0 0 ."]}
    async with following(SRV, server[1]) as heard:
        assert (heard.lists, heard.error) == ([()], "")


async def test_a_truncated_answer_goes_on_over_tcp(server: Server) -> None:
    server[0].truncates = True
    async with following(A, server[1]) as heard:
        assert heard.addresses == ["10.0.0.1:8000", "10.0.0.2:8000"]
        assert server[0].asked == ["udp a.x. A", "tcp a.x. A"]
        server[0].truncates_tcp = True
        await heard.again()
        assert heard.addresses == ["10.0.0.1:8000", "10.0.0.2:8000"]
        assert heard.error.endswith("127.0.0.1 answered something that is no answer to the question")


async def test_a_datagram_that_answers_another_question_is_not_taken(server: Server) -> None:
    wrong = (
        lambda answer: bytes([answer[0] ^ 1]) + answer[1:],  # another id
        lambda answer: answer.replace(b"\x01a\x01x", b"\x01b\x01x"),  # another question
        lambda answer: answer[:7],
        lambda answer: b"",
    )
    for server[0].before in wrong:
        async with following(A, server[1]) as heard:
            assert (heard.addresses, heard.error) == (["10.0.0.1:8000", "10.0.0.2:8000"], "")


async def test_a_fault_of_one_name_keeps_its_last_list_and_no_other(server: Server) -> None:
    dns, conf = server
    async with following(DnsSd(("a.x.", "b.x."), RecordType.A, 1), conf) as heard:
        assert heard.addresses == ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.9:1"]
        dns.rcode = dns_rcode("SERVFAIL")
        await heard.again()
        assert heard.error == "DNS A a.x.: a.x. is not resolved: 127.0.0.1 answered SERVFAIL (and 1 more names)"
        assert (len(heard.lists), len(heard.addresses)) == (1, 3)
        dns.rcode = None
        del dns.zone["a.x.", "A"]  # it does not exist any more, which every server says
        await heard.again()
        assert (heard.addresses, heard.error) == (["10.0.0.9:1"], "")
        dns.zone["b.x.", "A"] = ["10.0.0.8"]
        await heard.again()
        assert heard.addresses == ["10.0.0.8:1"]


def dns_rcode(name: str) -> dns.rcode.Rcode:
    return dns.rcode.from_text(name)


async def test_the_next_server_is_asked_where_one_fails(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.discovery.dns_following.SERVER_WAIT_S", 0.2)
    first, conf = server
    first.silent = True
    async with dns_server({("a.x.", "A"): ["10.0.0.5"]}, "127.0.0.2", conf.port) as (second, _):
        both = ResolvConf(("127.0.0.1", "127.0.0.2"), port=conf.port)
        async with following(A, both) as heard:
            assert (heard.addresses, heard.error) == (["10.0.0.5:8000"], "")
            second.rcode = dns_rcode("REFUSED")
            await heard.again()
            assert heard.addresses == ["10.0.0.5:8000"]
            assert heard.error == (
                "DNS A a.x.: a.x. is not resolved: 127.0.0.1 did not answer within 0.2 s; 127.0.0.2 answered REFUSED"
            )
            first.silent, first.rcode = False, dns_rcode("NXDOMAIN")  # the first answer that tells counts
            await heard.again()
            assert (heard.addresses, heard.error) == ([], "")


async def test_the_search_list_is_tried_until_a_name_exists(server: Server) -> None:
    dns, conf = server
    dns.zone["short.two.", "A"] = ["10.0.0.7"]
    searching = ResolvConf(conf.servers, ("one", "two"), port=conf.port)
    async with following(DnsSd(("short",), RecordType.A, 1), searching) as heard:
        assert heard.addresses == ["10.0.0.7:1"]
        assert dns.asked == ["udp short.one. A", "udp short.two. A"]
        assert dict(heard.lists[0][0].labels) == {"__meta_dns_name": "short"}


async def test_a_name_that_dns_cannot_hold_and_no_server_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.discovery.dns_following.SERVER_WAIT_S", 0.2)
    for name, conf, told in (
        ("a..b", ResolvConf(("127.0.0.1",)), "'a..b.' is not a name that DNS can hold"),
        ("a.b", ResolvConf(), "resolv.conf names no nameserver"),
        ("a.b", ResolvConf(("127.0.0.1",), port=1), "a.b. is not resolved: 127.0.0.1 did not answer within 0.2 s"),
        ("a.b", ResolvConf(("ns.x",)), "a.b. is not resolved: ns.x answered something that is no answer"),
    ):
        async with following(DnsSd((name,), RecordType.A, 1), conf) as heard:
            assert heard.lists == []
            assert heard.error.startswith(f"DNS A {name}: {told}")


@pytest.mark.parametrize(
    ("text", "conf"),
    [
        ("", ResolvConf()),
        ("# nameserver 1.1.1.1\nnameserver 10.0.0.1 # one\nnameserver fd00::1\nnameserver\n",
         ResolvConf(("10.0.0.1", "fd00::1"))),
        ("domain a b\n", ResolvConf(search=("a",))),
        ("domain a\nsearch b c\n", ResolvConf(search=("b", "c"))),
        ("search b c\nsearch\n", ResolvConf()),
        ("options rotate ndots:5 timeout:1\n", ResolvConf(ndots=5)),
        ("options ndots:99\n", ResolvConf(ndots=15)),
        ("options ndots:x\n", ResolvConf(ndots=0)),
    ],
)  # fmt: skip
def test_resolv_conf_is_read_as_by_prometheus(text: str, conf: ResolvConf) -> None:
    assert parsed(text) == conf


@pytest.mark.parametrize(
    ("name", "ndots", "names"),
    [
        ("a", 1, ["a.s.", "a.t.", "a."]),
        ("a.b", 1, ["a.b.", "a.b.s.", "a.b.t."]),
        ("a.b", 2, ["a.b.s.", "a.b.t.", "a.b."]),
        ("a.b.", 5, ["a.b."]),
    ],
)
def test_names_of_the_search_list(name: str, ndots: int, names: list[str]) -> None:
    assert list(names_of(ResolvConf(search=("s", "t."), ndots=ndots), name)) == names


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(DiscoveryError, match="none: cannot be read: No such file or directory"):
        read_resolv_conf(tmp_path / "none")
