"""The Telegram channel against a server that parses and counts as the Bot API does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from channel_servers import PNG, Telegram, status
from delivery_samples import outgoing
from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.channels.telegram import TelegramChannel, TelegramSettings


@pytest.fixture
async def telegram() -> AsyncIterator[Telegram]:
    """The Bot API."""
    service = Telegram()
    async with service.running():
        yield service


def channel(telegram: Telegram, **changes: Any) -> TelegramChannel:
    """A channel of the bot."""
    settings: dict[str, Any] = {"token": telegram.token, "chat_id": "-1001", "api_url": telegram.url} | changes
    return TelegramChannel("phone", TelegramSettings(**settings))


async def test_a_message_is_html_without_a_preview(telegram: Telegram) -> None:
    """With what was asked for: a topic, no sound; links are not followed by the chat."""
    await channel(telegram, message_thread_id=7, silent=True).send(outgoing(body="<b>Entry</b> 67012.5 &amp; more"))

    [message] = telegram.messages
    assert message["shown"] == "Entry 67012.5 & more"
    assert (message["message_thread_id"], message["disable_notification"]) == (7, True)
    assert message["link_preview_options"] == {"is_disabled": True}


async def test_plain_text_calls_nobody(telegram: Telegram) -> None:
    """A mention in a plain text is broken up; the text is otherwise as it is."""
    await channel(telegram, format="plain").send(outgoing(subject="Hi @everyone", text="<b>67012.5</b>\n"))

    [message] = telegram.messages
    assert "parse_mode" not in message
    assert message["shown"] == "Hi @\u2060everyone\n\n<b>67012.5</b>"


async def test_a_chart_comes_with_its_text_where_there_is_room(telegram: Telegram) -> None:
    """As a photo with a caption of 1,024 characters shown; with more the text goes alone, whole."""
    for length in (1_024, 1_025):
        await channel(telegram).send(outgoing(body=f"<b>{'x' * length}</b>", image=PNG))

    assert [message["method"] for message in telegram.messages] == ["sendPhoto", "sendMessage"]
    assert telegram.messages[0]["photo"] == PNG
    assert telegram.messages[1]["shown"] == "x" * 1_025


async def test_a_chart_that_cannot_be_shown_does_not_keep_the_text(telegram: Telegram) -> None:
    """What Telegram refuses as a photo is sent as text at once."""
    await channel(telegram).send(outgoing(body="Entry", image=b"no picture"))

    assert [(one["method"], one["shown"]) for one in telegram.messages] == [("sendMessage", "Entry")]


@pytest.mark.parametrize("body", ["<b>never closed", "<marquee>x</marquee>", "a < b", "R&D &nosuch;"])
async def test_what_cannot_be_read_as_html_comes_as_plain_text(body: str, telegram: Telegram) -> None:
    """At once, with the subject and the plain text: a template's mistake loses no alert."""
    await channel(telegram).send(outgoing(body=body))

    assert [one["shown"] for one in telegram.messages] == ["[BTC SCALP] LONG Signal - 1m\n\nEntry: 67012.5"]
    assert len(telegram.paths) == 2


async def test_a_text_is_cut_between_tags_and_characters(telegram: Telegram) -> None:
    """4,096 UTF-16 units are shown at most, and what is sent can always be parsed."""
    for unit in ("🚀", "&amp;", "<b>x</b>", '<a href="https://example.com/?a=1&amp;b=2">🚀</a>'):
        await channel(telegram).send(outgoing(body=unit * 4_200))

    assert [message["parse_mode"] for message in telegram.messages] == ["HTML"] * 4
    assert all(message["shown"].endswith("…") for message in telegram.messages)
    assert all(4_095 <= len(one["shown"].encode("utf-16-le")) // 2 <= 4_096 for one in telegram.messages)


async def test_what_has_room_is_whole_with_its_subject(telegram: Telegram) -> None:
    """A text as long as the channel says it may be, as a digest's is, loses nothing in either format."""
    for style in ("html", "plain"):
        sender = channel(telegram, format=style)
        body = "x" * (sender.room or 0)
        await sender.send(outgoing(subject="s" * 200, body=body, text=body))

    assert [one["shown"].count("x") for one in telegram.messages] == [4_096, 3_840]
    assert not any("…" in one["shown"] for one in telegram.messages)


@pytest.mark.parametrize(
    ("changes", "text", "off"),
    [
        ({"chat_id": "-5"}, "chat not found", False),
        ({"chat_id": "-13"}, "blocked", True),
        ({"token": "42:sesame-wrong"}, "Unauthorized", True),
        ({"token": "sesame"}, "Not Found", True),
    ],
)
async def test_what_will_not_get_better(changes: dict[str, str], text: str, off: bool, telegram: Telegram) -> None:
    """No such chat: the message is given up. No such bot, or it is not wanted: the channel is."""
    with pytest.raises(RejectedError, match=text) as caught:
        await channel(telegram, **changes).send(outgoing())
    assert caught.value.disable == off
    assert "sesame" not in str(caught.value)
    assert len(telegram.paths) == 1


async def test_a_group_that_moved_is_told_with_its_new_number(telegram: Telegram) -> None:
    """The number to write into the configuration is in the error."""
    telegram.script.append(
        status(400, '{"ok": false, "description": "Bad Request: upgraded", "parameters": {"migrate_to_chat_id": -99}}')
    )
    with pytest.raises(RejectedError, match=r"chat_id is now -99"):
        await channel(telegram).send(outgoing())


async def test_a_probe_names_the_bot(telegram: Telegram) -> None:
    """And says of a wrong token that it is none, without it."""
    assert "bot tape_bot" in await channel(telegram).probe()
    with pytest.raises(DeliveryError, match="Unauthorized") as caught:
        await channel(telegram, token="42:sesame-wrong").probe()
    assert "sesame" not in str(caught.value)
    assert telegram.messages == []
