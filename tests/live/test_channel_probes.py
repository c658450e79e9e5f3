"""`check --connect` and the channels of services, and channels through proxies."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from test_feed_pool_proxy import KINDS, Greeting, proxied

from channel_benches import http_channel
from channel_servers import Discord, JsonService, Telegram, Webhook
from delivery_samples import outgoing
from mail_server import Authority
from tapewatch.channels import DeliveryError
from tapewatch.channels.http import Connection
from tapewatch.channels.webhook import WebhookChannel, WebhookSettings
from tapewatch.cli.probes import connect
from tapewatch.config import load

CONFIG = """\
exchange: {rest_url: "http://127.0.0.1:1", ws_url: "ws://127.0.0.1:1"}
universe: {include: [BTCUSDT]}
strategies: {scalp: {}}
channels:
  desk: {type: discord, url: "${DESK}"}
  phone: {type: telegram, token: "${TOKEN}", chat_id: -1001, api_url: "${API}"}
  bridge: {type: webhook, url: "${BRIDGE}", headers: {X-Key: "${KEY}"}}
  watch: {type: apprise, url: "${WATCH}"}
"""


async def test_every_service_is_asked_and_gets_nothing(tmp_path: Path) -> None:
    """What is there passes, with what answered; what is not fails, with why, and no secret is in either."""
    path = tmp_path / "t.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    async with AsyncExitStack() as stack:
        discord, telegram, webhook, service = Discord(), Telegram(), Webhook(), JsonService()
        for one in (discord, telegram, webhook, service):
            await stack.enter_async_context(one.running())
        good = {
            "DESK": f"{discord.url}{discord.path}", "TOKEN": telegram.token, "API": telegram.url, "KEY": "sesame-key",
            "BRIDGE": f"{webhook.url}{webhook.path}", "WATCH": f"{service.url}{service.path}".replace("http", "json"),
        }  # fmt: skip
        bad = {
            "DESK": f"{discord.url}/api/webhooks/1/sesame-gone", "TOKEN": "42:sesame-wrong", "API": telegram.url,
            "BRIDGE": f"{webhook.url}/sesame-gone", "WATCH": "nosuch://sesame", "KEY": "sesame-key",
        }  # fmt: skip
        for variables, wanted in ((good, "pass"), (bad, "fail")):
            config = load([path], variables)
            assert set(variables.values()) - {telegram.url} == set(config.secret_values())
            found = [finding for finding in await connect(config) if finding.check == "channel"]
            assert [finding.status for finding in found] == [wanted] * 4, found
            assert "sesame" not in str(found) + repr(config)
    assert [*discord.messages, *telegram.messages, *webhook.documents, *service.documents] == []


@pytest.mark.parametrize(("greeting", "scheme"), KINDS)
async def test_a_channel_goes_through_the_proxy_of_the_environment(
    greeting: Greeting, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is asked for the service by name and sees nothing more; what it refuses did not arrive."""
    authority = Authority(tmp_path)
    async with AsyncExitStack() as stack:
        _, webhook = await http_channel(stack, "webhook", tls=authority.server_context("hooks.example.com"))
        port = int(webhook.url.rpartition(":")[2])
        async with proxied(greeting, port) as proxy:
            monkeypatch.setenv("https_proxy", f"{scheme}://me:secret@127.0.0.1:{proxy.port}")
            settings = WebhookSettings(
                f"https://hooks.example.com{webhook.path}", webhook.secret, {}, Connection(5.0, authority.file)
            )
            channel = WebhookChannel("bridge", settings)
            await channel.send(outgoing())
            proxy.refusing = True
            with pytest.raises(DeliveryError) as caught:
                await channel.send(outgoing("a2@bridge"))
    assert proxy.asked == ["hooks.example.com:443"] * 2
    assert (len(webhook.documents), caught.value.maybe_delivered) == (1, False)
    assert "secret" not in str(caught.value)
