"""The addresses that DNS records list (dns_sd). Pure: asking name servers is `dns_following.py`'s job."""

from __future__ import annotations

from collections.abc import Iterator

import dns.message
import dns.rdata
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

from collectors.discovery.dns_sd import DnsSd
from collectors.discovery.entries import Entry

_META = "__meta_dns_"


def entries_of(sd: DnsSd, name: str, answer: dns.message.Message) -> tuple[Entry, ...]:
    """Return what the records of an answer list, each once, sorted by address.

    Name servers turn the order at each question, so that the order tells nothing. `name` is the name as configured.
    """
    records = (record for rrset in answer.answer for record in rrset)
    found = {address: labels for record in records for address, labels in _addressed(sd, record)}
    return tuple(Entry((address,), {f"{_META}name": name, **found[address]}) for address in sorted(found))


def _addressed(sd: DnsSd, record: dns.rdata.Rdata) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the address of a record with its labels; nothing for other records, such as the CNAME of a name."""
    match record:
        case SRV():
            target = record.target.to_text()
            if target != ".":  # the name says that the service is not there (RFC 2782)
                labels = {f"{_META}srv_record_target": target, f"{_META}srv_record_port": str(record.port)}
                yield f"{target.rstrip('.')}:{record.port}", labels
        case MX():
            target = record.exchange.to_text()
            if target != ".":  # the domain takes no mail (RFC 7505)
                yield f"{target.rstrip('.')}:{sd.port}", {f"{_META}mx_record_target": target}
        case NS():
            target = record.target.to_text()
            yield f"{target.rstrip('.')}:{sd.port}", {f"{_META}ns_record_target": target}
        case A():
            yield f"{record.address}:{sd.port}", {}
        case AAAA():
            yield f"[{record.address}]:{sd.port}", {}
