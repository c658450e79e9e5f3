"""The e-mail channel: SMTP over implicit TLS or STARTTLS, with what each refusal means."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tapewatch.channels.labels import plain
from tapewatch.channels.mail import address, compose
from tapewatch.channels.port import DeliveryError, Outgoing, RejectedError, Style
from tapewatch.errors import SetupError
from tapewatch.network import is_loopback, tls_context

_QUIT_S = 2.0
#: What a server says to too many recipients at once (RFC 5321, 4.5.3.1.10): not for ever, though it is a 5xx.
_TOO_MANY_RECIPIENTS = 552
#: The server hangs up, whatever it was asked.
_CLOSING = 421
#: Steps that are the same for every mail.
_BEFORE_MAIL = frozenset({"connecting", "starting TLS", "logging in"})


@dataclass(frozen=True)
class EmailSettings:
    """Where and how mail is submitted; `timeout_s` is for connecting and for each answer of the server."""

    host: str
    port: int
    tls: Literal["implicit", "starttls", "none"]
    sender: str
    recipients: Sequence[str]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout_s: float = 10.0


class EmailChannel:
    """Delivers each message by a connection of its own.

    Raises:
        SetupError: the host or an address is none, TLS is off for a host that is not this machine, or the CA file
            cannot be read.
    """

    style: Style = "html"
    room: int | None = None

    def __init__(self, name: str, settings: EmailSettings) -> None:
        _check_host(settings.host)
        self.name = name
        self._settings = settings
        self._server = f"mail server {settings.host}:{settings.port}"
        self._sender = address(settings.sender)
        self._recipients = [address(recipient) for recipient in settings.recipients]
        self._tls = _tls_context(settings)

    async def send(self, outgoing: Outgoing) -> None:
        """Deliver to the recipients that do not have the message yet.

        Raises:
            DeliveryError: not now (no connection, no trust in the certificate, a 4xx answer), or not to everybody.
            RejectedError: a 5xx answer; a wrong user or password, after which the channel must not be used again.
        """
        missing = [to.addr_spec for to in self._recipients if to.addr_spec not in outgoing.delivered_to]
        if not missing:
            return
        mail = compose(outgoing, self._sender, self._recipients)
        conversation = _Conversation(self._settings, self._server, self._tls)
        try:
            refused = await conversation.deliver(self._sender.addr_spec, missing, mail)
        finally:
            await conversation.end()
        if refused:
            taken = [to for to in missing if to not in refused]
            raise self._partly(refused, [*outgoing.delivered_to, *taken])

    def _partly(self, refused: dict[str, tuple[int, str]], delivered_to: Sequence[str]) -> DeliveryError:
        said = "; ".join(f"{to}: {code} {text}" for to, (code, text) in refused.items())
        others = f" (delivered to {', '.join(delivered_to)})" if delivered_to else ""
        kind = (
            RejectedError if all(_permanent(code, of_recipient=True) for code, _ in refused.values()) else DeliveryError
        )
        return kind(f"{self._server} refused {said}{others}", delivered_to=delivered_to)


class _Conversation:
    """One connection to the server, and what its failures mean at the point they happen."""

    def __init__(self, settings: EmailSettings, server: str, tls: ssl.SSLContext | None) -> None:
        import aiosmtplib

        self._settings = settings
        self._server = server
        self._step = "connecting"
        self._client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            timeout=settings.timeout_s,
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=tls,
            local_hostname=_own_name(),
        )

    async def deliver(self, sender: str, recipients: Sequence[str], mail: bytes) -> dict[str, tuple[int, str]]:
        """Submit the mail; the recipients the server refused, with code and text."""
        import aiosmtplib

        try:
            return await self._submit(sender, recipients, mail)
        except aiosmtplib.SMTPResponseException as error:
            answer = f"{error.code} {self._said(error.message)}"
            text = f"{self._server} answered {answer} while {self._step}"
            no_login = self._step == "logging in" and _permanent(error.code)
            if _permanent(error.code):
                raise RejectedError(text, whole_channel=no_login, disable=no_login) from None
            # A code that is none says nothing about the mail.
            in_doubt = self._in_doubt and error.code < 0
            concerns_server = error.code < 0 or error.code == _CLOSING or self._step in _BEFORE_MAIL
            raise DeliveryError(text, maybe_delivered=in_doubt, whole_channel=concerns_server) from None
        except TimeoutError:
            text = f"{self._server} did not answer within {self._settings.timeout_s:g} s while {self._step}"
            raise DeliveryError(text, maybe_delivered=self._in_doubt, whole_channel=True) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            text = f"{self._server}: {self._said(str(error))} while {self._step}"
            raise DeliveryError(text, maybe_delivered=self._in_doubt, whole_channel=True) from None

    async def end(self) -> None:
        """Say goodbye, if there is somebody to say it to, and close."""
        import aiosmtplib

        if self._client.is_connected:
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await self._client.quit(timeout=_QUIT_S)
        transport = self._client.transport
        self._client.close()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()  # a plain close of TLS waits for the server's, up to 30 s

    @property
    def _in_doubt(self) -> bool:
        return self._step == "sending the mail"

    async def _submit(self, sender: str, recipients: Sequence[str], mail: bytes) -> dict[str, tuple[int, str]]:
        import aiosmtplib

        await self._client.connect()
        if self._settings.tls == "starttls":
            self._step = "starting TLS"
            await self._client.starttls()
        if self._settings.user is not None:
            self._step = "logging in"
            await self._client.login(self._settings.user.encode(), (self._settings.password or "").encode())
        self._step = "naming the sender"
        await self._client.mail(sender)
        refused: dict[str, tuple[int, str]] = {}
        for recipient in recipients:
            self._step = f"naming the recipient {recipient}"
            try:
                await self._client.rcpt(recipient)
            except aiosmtplib.SMTPRecipientRefused as error:
                if error.code == _CLOSING:
                    raise
                refused[recipient] = (error.code, self._said(error.message))
        if len(refused) < len(recipients):
            self._step = "sending the mail"
            await self._client.data(mail)
            self._step = "ending"
        return refused

    def _said(self, text: str) -> str:
        """What the server said, on one line, without what it must not repeat."""
        text = plain(text)
        for secret in _secrets(self._settings):
            text = text.replace(secret, "***")
        return text[:300]


def _permanent(code: int, *, of_recipient: bool = False) -> bool:
    return 500 <= code < 600 and not (of_recipient and code == _TOO_MANY_RECIPIENTS)


def _secrets(settings: EmailSettings) -> list[str]:
    if not settings.password:
        return []
    password, user = settings.password, settings.user or ""
    encoded = (base64.b64encode(form.encode()).decode() for form in (password, f"\0{user}\0{password}"))
    return [password, *encoded]


def _tls_context(settings: EmailSettings) -> ssl.SSLContext | None:
    if settings.tls == "none":
        if not is_loopback(settings.host):
            raise SetupError(f"tls: none is for mail servers on this machine, which {settings.host} is not")
        return None
    return tls_context(settings.ca_file, "ca_file")


def _check_host(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError:
        raise SetupError(f"host: {plain(host)!r} is no host name") from None


def _own_name() -> str:
    """What to call this machine: its full name where it has one, else the literal that stands for none."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"
