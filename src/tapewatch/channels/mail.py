"""A message as an e-mail: what hostile text cannot break out of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from tapewatch.channels.labels import plain
from tapewatch.channels.port import Outgoing
from tapewatch.errors import SetupError

#: Bodies are encoded so that every server can take them; headers longer than a line are folded.
_POLICY = SMTP.clone(cte_type="7bit")


def address(text: str) -> Address:
    """An address as `a@example.com` or `Name <a@example.com>`.

    Raises:
        SetupError: it is not one, or its mailbox is not ASCII.
    """
    name, mailbox = parseaddr(text)
    try:
        if plain(text) != text or "@" not in mailbox or not mailbox.isascii():
            raise ValueError(mailbox)
        return Address(display_name=name, addr_spec=mailbox)
    except (ValueError, IndexError):  # IndexError: the standard library's parser on some malformed mailboxes
        raise SetupError(f"not an e-mail address: {plain(text)!r}") from None


def compose(outgoing: Outgoing, sender: Address, recipients: Sequence[Address]) -> bytes:
    """The message in its form on the wire: plain text and HTML, with the chart in it where there is one.

    Its Message-ID is derived from the message's id, so a possible repeat has the same, and what follows an alert up
    stands under it.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["Subject"] = plain(outgoing.subject)
    mail["From"] = sender
    mail["To"] = tuple(recipients)
    mail["Date"] = format_datetime(datetime.fromtimestamp(outgoing.created_ms / 1000, UTC))
    mail["Message-ID"] = _mail_id(outgoing.message_id, sender)
    if (about := _followed(outgoing)) is not None:
        mail["References"] = mail["In-Reply-To"] = _mail_id(about, sender)
    mail["List-Id"] = f"tapewatch <tapewatch.{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(outgoing.text)
    if outgoing.html is not None:
        mail.add_alternative(outgoing.html, subtype="html")
        if outgoing.image is not None:
            *_, page = mail.iter_parts()
            assert isinstance(page, EmailMessage)
            page.add_related(outgoing.image, "image", "png", cid="<chart>", disposition="inline", filename="chart.png")
    return mail.as_bytes()


def _mail_id(message_id: str, sender: Address) -> str:
    return f"<{hashlib.blake2b(message_id.encode(), digest_size=16).hexdigest()}@{sender.domain}>"


def _followed(outgoing: Outgoing) -> str | None:
    """The id of the message about the signal that this one follows up; None where it follows none.

    What is told of a signal later has that signal's id and more as its own.
    """
    parts = outgoing.alert_id.split("/")
    if outgoing.kind in {"signal", "operator", "test"} or len(parts) < 7:
        return None
    venue, symbol, timeframe, _strategy, _side, close_ms, *_ = parts
    return f"{venue}/{symbol}/{timeframe}/{close_ms}@{outgoing.message_id.rpartition('@')[2]}"
