"""The Discord channel against a server that checks and counts as Discord does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from channel_servers import PNG, Discord, status
from delivery_samples import outgoing
from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.channels.discord import DiscordChannel, DiscordSettings
from tapewatch.errors import SetupError


@pytest.fixture
async def discord() -> AsyncIterator[Discord]:
    """Five requests in a second, and no more."""
    service = Discord(burst=5, window_s=1.0)
    async with service.running():
        yield service


def channel(discord: Discord, **changes: str) -> DiscordChannel:
    """A channel to its webhook."""
    return DiscordChannel("desk", DiscordSettings(f"{discord.url}{discord.path}", **changes))


async def test_a_message_is_an_embed(discord: Discord) -> None:
    """With the chart's link, the side's colour, the time it was raised and the chart as an image of its own."""
    await channel(discord, username="tape", avatar_url="https://example.com/a.png", thread_id="77").send(
        outgoing(body="**Entry** 67012.5", side="short", chart_url="https://example.com/chart", image=PNG)
    )

    [message] = discord.messages
    assert message["embeds"] == [
        {
            "title": r"\[BTC SCALP\] LONG Signal - 1m",
            "description": "**Entry** 67012.5",
            "color": 0xD55E00,
            "timestamp": "2025-05-20T14:07:00.000+00:00",
            "url": "https://example.com/chart",
            "image": {"url": "attachment://chart.png"},
        }
    ]
    assert (message["files"], message["username"], message["thread_id"]) == ({"chart.png": PNG}, "tape", "77")
    assert message["avatar_url"] == "https://example.com/a.png"


async def test_an_image_that_is_refused_does_not_keep_the_message(discord: Discord) -> None:
    """It is sent once more without, at once."""
    discord.script.append(status(413))
    await channel(discord).send(outgoing(image=PNG))

    [message] = discord.messages
    assert (message["files"], "image" in message["embeds"][0]) == ({}, False)


async def test_sides_and_severities_have_colours(discord: Discord) -> None:
    """Blue and orange for the sides, which everybody tells apart; what has no side is grey, or stands out."""
    for changes in ({"side": "long"}, {"side": "short"}, {"severity": "critical"}, {}):
        await channel(discord).send(outgoing(**changes))

    colors = [message["embeds"][0]["color"] for message in discord.messages]
    assert colors == [0x0072B2, 0xD55E00, 0xCC79A7, 0x999999]


async def test_limits_are_kept_as_discord_counts_them(discord: Discord) -> None:
    """Characters outside the first plane count twice, and marks that escaping adds count too."""
    await channel(discord).send(outgoing(subject="[" + "🚀" * 300, body="🚀" * 4_000))
    await channel(discord).send(outgoing(subject="_" * 300, text="_" * 5_000 + "\n", body=""))

    assert [message["embeds"][0]["description"][-1] for message in discord.messages] == ["…", "…"]


async def test_a_limit_that_is_used_up_is_told_and_kept(discord: Discord) -> None:
    """Whoever waits as long as a sending says is never told to: no request is refused."""
    started = asyncio.get_running_loop().time()
    for number in range(11):
        pause_s = await channel(discord).send(outgoing(f"a{number}@desk"))
        assert (pause_s is not None) == (number in (4, 9))
        await asyncio.sleep(pause_s or 0)

    assert (len(discord.messages), discord.limited) == (11, 0)
    assert asyncio.get_running_loop().time() - started >= 1.9


async def test_one_request_too_many_is_told_how_long_to_wait(discord: Discord) -> None:
    """The fraction of a second that the body names, not the whole seconds of the header."""
    for number in range(5):
        await channel(discord).send(outgoing(f"a{number}@desk"))
    with pytest.raises(DeliveryError) as caught:
        await channel(discord).send(outgoing())

    assert caught.value.retry_after_s is not None
    assert 0 < caught.value.retry_after_s < 1
    await asyncio.sleep(caught.value.retry_after_s)
    await channel(discord).send(outgoing())


async def test_what_the_server_repeats_of_the_secret_is_not_told(discord: Discord) -> None:
    """The token is in no error, whatever the other side says."""
    discord.script.append(status(400, f'{{"message": "no {discord.url}{discord.path} (sesame-open-sesame)"}}'))
    with pytest.raises(RejectedError) as caught:
        await channel(discord).send(outgoing())

    assert "sesame" not in str(caught.value)
    assert "answered 400" in str(caught.value)


async def test_a_probe_sends_nothing(discord: Discord) -> None:
    """It names the webhook; of one that is gone it says so."""
    assert "webhook 'tape'" in await channel(discord).probe()
    gone = DiscordChannel("desk", DiscordSettings(f"{discord.url}/api/webhooks/123/forgotten"))
    with pytest.raises(RejectedError, match="Unknown Webhook"):
        await gone.probe()
    assert discord.messages == []


@pytest.mark.parametrize("url", ["http://discord.example.com/api/webhooks/1/sesame", "sesame", "https://[sesame"])
def test_an_address_that_cannot_be_is_not_repeated(url: str) -> None:
    """Only its key is named, since it is a secret."""
    with pytest.raises(SetupError, match=r"^url: must be a URL") as caught:
        DiscordChannel("desk", DiscordSettings(url))
    assert "sesame" not in str(caught.value)
