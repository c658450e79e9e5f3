"""Channels deliver alerts: the port, its adapters, how alerts are written and where they go."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from tapewatch.channels.port import Channel, DeliveryError, Outgoing, RejectedError
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.channels.http import Connection

__all__ = ["Channel", "DeliveryError", "Outgoing", "RejectedError", "build", "probe"]


class ServiceChannel(Channel, Protocol):
    """A channel whose other side can be asked whether it is there."""

    async def probe(self) -> str:
        """What answers, in words; see `tapewatch.channels.probe`."""
        ...


def build(name: str, spec: Any, *, console: TextIO | None = None) -> Channel:
    """The channel a configuration describes.

    Args:
        name: its name in the configuration.
        spec: its section, of one of `tapewatch.config.channels.CHANNEL_TYPES`.
        console: where a console channel prints; stdout unless given.

    Raises:
        SetupError: what the section says cannot work, naming the channel.
    """
    try:
        return _build(name, spec, console or sys.stdout)
    except SetupError as error:
        raise SetupError(f"channels.{name}: {error}") from None


async def probe(name: str, spec: Any) -> str:
    """What answers behind a channel of a service, which is asked without sending anything.

    Raises:
        SetupError: as `build`.
        EdgeError: it does not answer, or as no such service does.
    """
    return await _service_channel(name, spec).probe()


def _build(name: str, spec: Any, console: TextIO) -> Channel:
    if spec.type == "console":
        from tapewatch.channels.console import ConsoleChannel

        return ConsoleChannel(name, console)
    if spec.type == "file":
        from tapewatch.channels.file import FileChannel

        if spec.path.exists() and not spec.path.is_file():
            raise SetupError(f"path: {spec.path} is no regular file")
        return FileChannel(name, spec.path)
    if spec.type == "email":
        return _email(name, spec)
    return _service_channel(name, spec)


def _service_channel(name: str, spec: Any) -> ServiceChannel:
    makers = {"discord": _discord, "telegram": _telegram, "webhook": _webhook, "apprise": _apprise}
    return makers[spec.type](name, spec)


def _discord(name: str, spec: Any) -> ServiceChannel:
    from tapewatch.channels.discord import DiscordChannel, DiscordSettings

    settings = DiscordSettings(
        url=spec.url.get_secret_value(),
        username=spec.username,
        avatar_url=spec.avatar_url,
        thread_id=spec.thread_id,
        connection=_connection(spec),
    )
    return DiscordChannel(name, settings)


def _telegram(name: str, spec: Any) -> ServiceChannel:
    from tapewatch.channels.telegram import TelegramChannel, TelegramSettings

    settings = TelegramSettings(
        token=spec.token.get_secret_value(),
        chat_id=spec.chat_id,
        format=spec.format,
        message_thread_id=spec.message_thread_id,
        silent=spec.silent,
        api_url=spec.api_url,
        connection=_connection(spec),
    )
    return TelegramChannel(name, settings)


def _webhook(name: str, spec: Any) -> ServiceChannel:
    from tapewatch.channels.webhook import WebhookChannel, WebhookSettings

    settings = WebhookSettings(
        url=spec.url.get_secret_value(),
        secret=None if spec.secret is None else spec.secret.get_secret_value(),
        headers={header: value.get_secret_value() for header, value in spec.headers.items()},
        connection=_connection(spec),
    )
    return WebhookChannel(name, settings)


def _apprise(name: str, spec: Any) -> ServiceChannel:
    from tapewatch.channels.apprise import AppriseChannel, AppriseSettings

    return AppriseChannel(name, AppriseSettings(tuple(spec.url.get_secret_value().split()), spec.timeout / 1000))


def _connection(spec: Any) -> Connection:
    from tapewatch.channels.http import Connection

    return Connection(spec.timeout / 1000, spec.ca_file)


def _email(name: str, spec: Any) -> Channel:
    from tapewatch.channels.email import EmailChannel, EmailSettings

    settings = EmailSettings(
        host=spec.host,
        port=spec.port,
        tls=spec.tls,
        sender=spec.sender,
        recipients=tuple(spec.recipients),
        user=spec.user,
        password=None if spec.password is None else spec.password.get_secret_value(),
        ca_file=spec.ca_file,
        timeout_s=spec.timeout / 1000,
    )
    return EmailChannel(name, settings)
