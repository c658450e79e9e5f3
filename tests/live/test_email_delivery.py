from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from delivery_samples import CLOSE_MS, outgoing, signal, stored
from mail_server import HOST, Authority, Mailbox, mail_server, scripted_server
from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.channels.email import EmailChannel, EmailSettings
from tapewatch.channels.writer import Writer
from tapewatch.errors import SetupError

HEADERS = {"List-Id", "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that only these tests know."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def box() -> Mailbox:
    """Where the server puts the mail."""
    return Mailbox()


def channel(port: int, **changes: Any) -> EmailChannel:
    """A channel to a server on loopback, without TLS unless changed."""
    fields: dict[str, Any] = {
        "host": HOST,
        "port": port,
        "tls": "none",
        "sender": "Tape <tape@example.com>",
        "recipients": ["ann@example.com"],
        "timeout_s": 2.0,
    }
    return EmailChannel("mail", EmailSettings(**fields | changes))


async def refusal(sender: EmailChannel, **changes: Any) -> DeliveryError:
    """The error that sending a message ends in."""
    with pytest.raises(DeliveryError) as caught:
        await sender.send(outgoing(**changes))
    return caught.value


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_mail_goes_over_checked_tls_with_a_login(tls: str, authority: Authority, box: Mailbox) -> None:
    """With implicit TLS and with STARTTLS, after a login, one multipart mail arrives, encrypted."""
    async with mail_server(box, **{tls: authority.server_context()}) as port:
        settings = {"tls": tls, "ca_file": authority.file, "user": "ann", "password": "hunter2"}
        await channel(port, **settings, recipients=["Ann Ünï <ann@example.com>", "bob@example.com"]).send(outgoing())

    [mail] = box.mails
    assert box.over_tls == [True]
    assert box.recipients == [["ann@example.com", "bob@example.com"]]
    assert mail["Subject"] == "[BTC SCALP] LONG Signal - 1m"
    assert mail["From"] == "Tape <tape@example.com>"
    assert mail["To"] == "Ann Ünï <ann@example.com>, bob@example.com"
    assert parsedate_to_datetime(mail["Date"]).timestamp() == CLOSE_MS // 1000
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content().strip() for part in mail.iter_parts()] == ["Entry: 67012.5", "<p>Entry: 67012.5</p>"]


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_an_untrusted_certificate_is_not_spoken_to(tls: str, authority: Authority, box: Mailbox) -> None:
    """A certificate of an unknown authority, or for another name, ends the attempt before user or mail are shown."""
    for context, ca_file in (
        (authority.server_context(), None),
        (authority.server_context("mail.example.com"), authority.file),
    ):
        async with mail_server(box, **{tls: context}) as port:
            error = await refusal(channel(port, tls=tls, ca_file=ca_file, user="ann", password="hunter2"))

        assert not isinstance(error, RejectedError)
        assert "certificate verify failed" in str(error).lower()
        assert not error.maybe_delivered
    assert box.raw == []


async def test_a_server_without_starttls_gets_nothing(box: Mailbox) -> None:
    """When STARTTLS is asked for and not offered, nothing is sent in the clear and it is tried again later."""
    async with mail_server(box) as port:
        error = await refusal(channel(port, tls="starttls", user="ann", password="hunter2"))

    assert not isinstance(error, RejectedError)
    assert "STARTTLS" in str(error)
    assert box.raw == []


async def test_a_wrong_password_is_final_and_stays_secret(authority: Authority, box: Mailbox) -> None:
    """A refused login gives the message up, and the text shows neither the password nor its encoded forms."""
    async with mail_server(box, implicit=authority.server_context()) as port:
        sender = channel(port, tls="implicit", ca_file=authority.file, user="ann", password="wrong-secret")
        error = await refusal(sender)

    assert isinstance(error, RejectedError)
    assert "535" in str(error)
    assert "wrong-secret" not in str(error) + repr(error.__cause__) + repr(error.__context__) + repr(sender._settings)


async def test_a_password_may_have_any_letters() -> None:
    """User and password are sent as UTF-8."""
    async with scripted_server({"EHLO": "250-mail\r\n250 AUTH PLAIN", "AUTH": "235 welcome"}) as port:
        await channel(port, user="jürgen", password="geheimnis-ü").send(outgoing())


async def test_a_server_that_repeats_the_password_does_not_get_it_into_the_ledger() -> None:
    """What the server says is cleaned of the password, of control characters, and of its excess."""
    answer = "535 no: hunter2 aHVudGVyMg== \x1b[31m" + "x" * 400
    async with scripted_server({"EHLO": "250-mail\r\n250 AUTH PLAIN", "AUTH": answer}) as port:
        error = await refusal(channel(port, user="ann", password="hunter2"))

    assert "no: *** ***" in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 450


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({"hello": "421 too busy"}, "421 too busy while connecting"),
        ({"MAIL": "451 greylisted"}, "451 greylisted while naming the sender"),
        ({"RCPT": "450 greylisted"}, "refused ann@example.com: 450 greylisted"),
        ({"RCPT": "421 going down"}, "421 going down while naming the recipient"),
        ({"RCPT": "552 too many recipients"}, "552 too many recipients"),
        ({"DATA": "451 not now"}, "451 not now while sending the mail"),
        ({".": "452 no space"}, "452 no space while sending the mail"),
        ({"hello": ""}, "while connecting"),
        ({"MAIL": ""}, "while naming the sender"),
    ],
)
async def test_what_passes_is_tried_again(answers: dict[str, str], text: str) -> None:
    """Answers of 4xx, 552 to a recipient and a lost connection are for now, with the server's words and the step."""
    async with scripted_server(answers) as port:
        error = await refusal(channel(port))

    assert not isinstance(error, RejectedError)
    assert not error.maybe_delivered
    assert f"mail server {HOST}:{port}" in str(error)
    assert text in str(error)


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({"hello": "554 no service"}, "554 no service while connecting"),
        ({"MAIL": "550 not you"}, "550 not you while naming the sender"),
        ({"RCPT": "550 nobody here"}, "refused ann@example.com: 550 nobody here"),
        ({".": "554 looks like spam"}, "554 looks like spam while sending the mail"),
        ({".": "552 too big"}, "552 too big while sending the mail"),
    ],
)
async def test_what_does_not_pass_is_given_up(answers: dict[str, str], text: str) -> None:
    """Answers of 5xx are final, with the server's words and the step."""
    async with scripted_server(answers) as port:
        error = await refusal(channel(port))

    assert isinstance(error, RejectedError)
    assert text in str(error)


@pytest.mark.parametrize("step", ["hello", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_a_server_that_hangs_is_left(step: str) -> None:
    """Silence ends the attempt at the time-out, whichever answer does not come."""
    async with scripted_server({step: None}) as port:
        started = time.monotonic()
        error = await refusal(channel(port, timeout_s=0.2))

    assert time.monotonic() - started < 3
    assert not isinstance(error, RejectedError)
    assert "did not answer within 0.2 s" in str(error)
    assert error.maybe_delivered == (step == "DATA")


@pytest.mark.parametrize("answer", [None, ""])
async def test_a_mail_that_was_sent_but_not_acknowledged_is_in_doubt(answer: str | None) -> None:
    """When the server goes silent or away after the mail, it may have it: the next attempt is a possible repeat."""
    async with scripted_server({".": answer}) as port:
        error = await refusal(channel(port, timeout_s=0.3))

    assert error.maybe_delivered
    assert not isinstance(error, RejectedError)


async def test_nobody_at_the_port_is_told_and_tried_again(box: Mailbox) -> None:
    """A refused connection is for now."""
    async with mail_server(box) as port:
        pass
    error = await refusal(channel(port))

    assert not isinstance(error, RejectedError)
    assert f"{HOST}:{port}" in str(error)


async def test_a_silent_goodbye_does_not_undo_a_delivery() -> None:
    """A server that took the mail and then hangs or hangs up has taken it."""
    async with scripted_server({"QUIT": ""}) as port:
        await channel(port).send(outgoing())


async def test_recipients_that_have_the_mail_do_not_get_it_again(box: Mailbox) -> None:
    """One of two is greylisted: the first gets the mail at once, the other with the next attempt, each once."""
    box.to_recipient["bob@example.com"] = ["451 greylisted"]
    async with mail_server(box) as port:
        sender = channel(port, recipients=["ann@example.com", "Bob <bob@example.com>"])
        error = await refusal(sender)
        assert not isinstance(error, RejectedError)
        assert error.delivered_to == ("ann@example.com",)
        assert "refused bob@example.com: 451 greylisted (delivered to ann@example.com)" in str(error)

        await sender.send(outgoing(delivered_to=error.delivered_to))
        await sender.send(outgoing(delivered_to=("ann@example.com", "bob@example.com")))

    assert box.recipients == [["ann@example.com"], ["bob@example.com"]]
    assert {mail["To"] for mail in box.mails} == {"ann@example.com, Bob <bob@example.com>"}
    assert len({mail["Message-ID"] for mail in box.mails}) == 1


async def test_a_recipient_that_does_not_exist_is_reported_once_the_others_have_it(box: Mailbox) -> None:
    """With one address refused for good the others get the mail, and the error is final and names who has it."""
    box.to_recipient["bob@example.com"] = ["550 no such user"]
    async with mail_server(box) as port:
        error = await refusal(channel(port, recipients=["ann@example.com", "bob@example.com"]))

    assert isinstance(error, RejectedError)
    assert error.delivered_to == ("ann@example.com",)
    assert box.recipients == [["ann@example.com"]]


async def test_a_repeat_has_the_same_message_id(box: Mailbox) -> None:
    """The id depends on the message and on nothing else, so that mail programs can see a repeat."""
    async with mail_server(box) as port:
        for message_id, repeat in (("a1@mail", False), ("a1@mail", True), ("a2@mail", False)):
            await channel(port).send(outgoing(message_id, possible_repeat=repeat, sent_ms=CLOSE_MS + repeat))

    first, again, other = (mail["Message-ID"] for mail in box.mails)
    assert first == again != other
    assert first.endswith("@example.com>")


async def test_what_follows_an_alert_up_stands_under_it(box: Mailbox) -> None:
    """It refers to the mail of its alert on the same channel; an alert and the operator's mails refer to none."""
    alert = "binance_spot/BTCUSDT/1m/1747750020000"
    later = "binance_spot/BTCUSDT/1m/scalp/long/1747750020000/trade/exit"
    async with mail_server(box) as port:
        await channel(port).send(outgoing(f"{alert}@mail"))
        await channel(port).send(outgoing(f"{later}@mail", kind="exit", signal=None))
        await channel(port).send(outgoing("operator/feed/lost/1/2/3/4@mail", kind="operator", signal=None))

    first, followed, operator = box.mails
    assert followed["References"] == followed["In-Reply-To"] == first["Message-ID"]
    assert {"References", "In-Reply-To"}.isdisjoint({*first.keys(), *operator.keys()})
    assert {mail["List-Id"] for mail in box.mails} == {"tapewatch <tapewatch.example.com>"}


@pytest.mark.parametrize(
    "hostile", ["BTC\r\nBcc: eve@example.com", "BTC\nX: 1\n\nbody", "\r\n.\r\nMAIL FROM:<e@e>", "\0\x85\u2028"]
)
async def test_no_header_can_be_injected(hostile: str, box: Mailbox) -> None:
    """A subject made of whatever an exchange or a strategy is called adds no header, recipient or body."""
    written = Writer(UTC).write(stored(signal(hostile, strategy=hostile, timeframe=hostile)), "html")
    async with mail_server(box) as port:
        await channel(port).send(outgoing(hostile, subject=written.subject, text=written.text, html=written.html))
        await channel(port).send(outgoing(hostile, subject=hostile))

    assert box.recipients == [["ann@example.com"]] * 2
    for mail in box.mails:
        headers = set(mail) - {"X-Peer", "X-MailFrom", "X-RcptTo"}  # the server's own
        assert headers == HEADERS
        assert mail["To"] == "ann@example.com"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"host": "mail.example.com"}, "tls: none is for mail servers on this machine"),
        ({"host": "192.0.2.1"}, "tls: none is for mail servers on this machine"),
        ({"host": "mail..example.com", "tls": "implicit"}, "host: 'mail..example.com' is no host name"),
        ({"sender": "nobody"}, "not an e-mail address: 'nobody'"),
        ({"recipients": ["ann@example.com\r\nBcc: eve@example.com"]}, "not an e-mail address"),
        ({"recipients": ["ann@bücher.example"]}, "not an e-mail address"),
        ({"recipients": ["a b@example.com"]}, "not an e-mail address"),
        ({"recipients": ["@"]}, "not an e-mail address"),
        ({"tls": "starttls", "ca_file": Path("/nowhere/ca.pem")}, "ca_file: /nowhere/ca.pem: no certificates"),
        ({"tls": "implicit", "ca_file": Path(__file__)}, "no certificates could be read"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(changes: dict[str, Any], text: str) -> None:
    """Clear text to another machine, an address that is none and an unreadable CA file are the user's mistakes."""
    with pytest.raises(SetupError, match=text):
        channel(25, **changes)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_clear_text_stays_on_this_machine(host: str) -> None:
    """Without TLS every name of this machine is accepted."""
    assert channel(25, host=host).name == "mail"
