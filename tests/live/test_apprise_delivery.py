"""The Apprise channel: services of the library, each once, and none of their secrets told."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest

from channel_servers import JsonService, status
from delivery_samples import outgoing
from tapewatch.channels import DeliveryError
from tapewatch.channels.apprise import AppriseChannel, AppriseSettings
from tapewatch.errors import SetupError
from tapewatch.telemetry import LogSetup


async def test_each_service_gets_a_message_once() -> None:
    """Those that have it do not get it again when another did not take it."""
    async with AsyncExitStack() as stack:
        services = [JsonService(), JsonService()]
        urls = [await stack.enter_async_context(service.running()) for service in services]
        channel = AppriseChannel("watch", AppriseSettings(tuple(url.replace("http", "json") for url in urls)))
        services[1].script.append(status(503))
        with pytest.raises(DeliveryError, match=r"^Apprise: json#[0-9a-f]{6}: .*error=503") as caught:
            await channel.send(outgoing())
        assert (caught.value.maybe_delivered, caught.value.whole_channel) == (False, False)
        await channel.send(outgoing(delivered_to=caught.value.delivered_to))

    assert [len(service.documents) for service in services] == [1, 1]


async def test_what_the_library_logs_goes_nowhere() -> None:
    """It names URLs: a failure is in the error, without what must not be told, and in no log."""
    service, stream = JsonService(), io.StringIO()
    async with service.running() as url:
        address = url.replace("http://", "json://ann:sesame-password@") + "/sesame-path?+X-Key=sesame-header"
        logs = LogSetup(level="debug", stream=stream)
        try:
            channel = AppriseChannel("watch", AppriseSettings((address,)))
            service.script.append(status(500, "sesame-password"))
            with pytest.raises(DeliveryError) as caught:
                await channel.send(outgoing())
        finally:
            logs.close()
    assert "sesame" not in str(caught.value) + repr(channel) + stream.getvalue()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sesame", "is no URL of a service of Apprise"),
        ("nosuch://sesame", "nosuch://… is no URL of a service"),
        ("json://mail.example.com/sesame", "json:// is not encrypted; jsons:// is"),
        ("jsons://mail.example.com/sesame?verify=no", "certificates are always checked"),
    ],
)
def test_a_url_that_cannot_be_used_is_not_repeated(url: str, text: str) -> None:
    """What is wrong with it is told at the start, without it."""
    with pytest.raises(SetupError, match=text) as caught:
        AppriseChannel("watch", AppriseSettings((url,)))
    assert "sesame" not in str(caught.value)


def test_without_the_library_it_is_told_how_to_get_it() -> None:
    """At the start, naming the channel's key and the command that installs it."""
    program = (
        "import sys; sys.modules['apprise'] = None\n"
        "from types import SimpleNamespace as N; from pydantic import SecretStr; from tapewatch.channels import build\n"
        "try: build('watch', N(type='apprise', url=SecretStr('json://localhost'), timeout=1000))\n"
        "except Exception as error: print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert said.startswith(
        "channels.watch: type: the apprise package is not installed; `pip install 'tapewatch[apprise]'`"
    )
