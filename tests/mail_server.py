"""Real mail servers on loopback for the tests: one that takes mail, one that follows a script."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HOST = "127.0.0.1"


class Mailbox:
    """Takes mail, or answers as told: `to_recipient` by address and `to_data`, each a list used up in order."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.to_recipient: dict[str, list[str]] = {}
        self.to_data: list[str] = []
        self.over_tls: list[bool] = []

    @property
    def mails(self) -> list[EmailMessage]:
        """The mails that were taken."""
        return [email.message_from_bytes(raw, policy=email.policy.default) for raw in self.raw]

    async def handle_RCPT(  # noqa: N802 - the name aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer to a recipient."""
        script = self.to_recipient.get(address)
        answer = script.pop(0) if script else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Answer to a mail."""
        answer = self.to_data.pop(0) if self.to_data else "250 OK"
        if answer.startswith("250"):
            self.raw.append(bytes(envelope.content))
            self.recipients.append(list(envelope.rcpt_tos))
            self.over_tls.append(server.transport.get_extra_info("sslcontext") is not None)
        return answer


class Authority:
    """A certificate authority made for one test run."""

    def __init__(self, folder: Any) -> None:
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server's context with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or (HOST,))).configure_cert(context)
        return context


@asynccontextmanager
async def mail_server(
    box: Mailbox, *, implicit: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[int]:
    """A server for `box`; its port. The user is `ann`, the password `hunter2`."""

    def authenticated(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ann", b"hunter2")
        return AuthResult(success=good, handled=False)

    loop = asyncio.get_running_loop()
    talks: list[SMTP] = []

    def protocol() -> SMTP:
        talk = SMTP(
            box, hostname="mail.example.com", loop=loop, tls_context=starttls, require_starttls=starttls is not None,
            authenticator=authenticated, auth_require_tls=starttls is not None,
        )  # fmt: skip
        talks.append(talk)
        return talk

    server = await loop.create_server(protocol, HOST, port, ssl=implicit)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for talk in talks:
            if talk.transport is not None and not talk.transport.is_closing():
                talk.transport.abort()
        handlers = [talk._handler_coroutine for talk in talks if talk._handler_coroutine is not None]
        for handler in handlers:
            handler.cancel()  # one that waits for the end of a TLS handshake does not notice
        await asyncio.gather(*handlers, return_exceptions=True)
        for _ in range(3):  # transports close a turn later, those with something to say when that is said
            await asyncio.sleep(0)


@asynccontextmanager
async def scripted_server(answers: Mapping[str, str | None]) -> AsyncIterator[int]:
    """A server that answers each command as told; its port.

    Keys are `hello` (on connecting), the commands, and `.` (the end of a mail). An answer of None means that it hangs,
    an empty one that it hangs up. Commands that are not named are answered as usual.
    """
    usual = {"hello": "220 hello", "EHLO": "250 mail.example.com", "DATA": "354 go on", "QUIT": "221 bye"}

    talks: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks[task] = writer
        try:
            await answer_all(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command, in_mail = "hello", False
        while True:
            answer = {**usual, **answers}.get(command, "250 OK")
            if not in_mail:
                if answer is None:
                    await reader.read()  # until the client goes away
                if not answer:
                    break
                writer.write(answer.encode() + b"\r\n")
            in_mail = (command == "DATA" and answer == "354 go on") or (in_mail and command != ".")
            line = await reader.readline()
            if not line or command == "QUIT":
                break
            command = line.decode().strip().split(" ")[0]
            if command == ".":
                in_mail = False

    server = await asyncio.start_server(converse, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in talks.values():
            writer.transport.abort()
        await asyncio.gather(*talks)
        for _ in range(3):  # transports close a turn later, those with something to say when that is said
            await asyncio.sleep(0)
