"""E-mail of an `alertmanager.yml`."""

from __future__ import annotations

from alerts.yaml_nodes import Place
from controlplane.config.notifiers.common import CommonNotifier
from controlplane.config.notifiers.from_alertmanager.reading import Fields, Source, Taken, needs
from controlplane.config.notifiers.mail import EmailSection


def email(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take e-mail over. As in Alertmanager, port 465 means TLS from the start, and STARTTLS is required elsewhere."""
    shared = source.shared
    host, _, port = (fields.text("smarthost") or shared.text("smtp_smarthost")).rpartition(":")
    needs(fields, host and port.isdecimal(), "smarthost, as host:port")
    implicit = fields.flag("force_implicit_tls", shared.flag("smtp_force_implicit_tls", port == "465"))
    required = fields.flag("require_tls", shared.flag("smtp_require_tls", True))
    taken.fields |= {"host": host.strip("[]"), "port": int(port)}
    taken.fields["security"] = "tls" if implicit else "starttls" if required else "none"
    taken.fields["from"] = fields.text("from") or shared.text("smtp_from")
    taken.fields["to"] = _addresses(fields.text("to"))
    taken.put("hello", fields.text("hello") or shared.text("smtp_hello"))
    if user := fields.text("auth_username") or shared.text("smtp_auth_username"):
        taken.fields["username"] = user
        source.secret(taken, "password", (fields, "auth_password"), (shared, "smtp_auth_password"))
    if fields.has("tls_config"):
        source.tls(fields, taken)
    else:
        source.tls(_renamed(shared, "smtp_tls_config"), taken)
    headers = Fields(fields.at("headers"), f"{fields.path}.headers")
    for name, place in list(headers.unread()):
        if name.lower() == "cc":
            taken.fields["cc"] = _addresses(headers.text(name))
        elif name.lower() == "reply-to":
            taken.fields["reply_to"] = headers.text(name)
        elif name.lower() == "subject":
            source.text(headers, name, taken, "title")
        else:
            source.note(place, f"{headers.path}.{name} is not taken over")
    source.text(fields, "text", taken, "text")
    html = fields.at("html")
    if html is not None and not html.text():
        taken.fields["html"] = False  # an empty one asks for an e-mail of text alone
    else:
        source.text(fields, "html", taken, "html", "html")
    return EmailSection


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (address.strip() for address in text.split(","))))


class _Renamed(Fields):
    """The global section, with one of its fields as `tls_config`."""

    def __init__(self, fields: Fields, name: str) -> None:
        self.path, self._fields, self._name = "global", fields, name

    def at(self, name: str) -> Place | None:
        """Return the place of the renamed field."""
        return self._fields.at(self._name)


def _renamed(fields: Fields, name: str) -> Fields:
    return _Renamed(fields, name)
