"""Channels deliver alerts: the port, its adapters, how alerts are written and where they go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Protocol, TextIO, TypeVar

from tapewatch.channels.port import Channel, DeliveryError, Outgoing, RejectedError
from tapewatch.errors import SetupError

__all__ = ["Channel", "DeliveryError", "Outgoing", "RejectedError", "build", "probe"]

T = TypeVar("T")


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

    return DiscordChannel(name, _settings(DiscordSettings, spec))


def _telegram(name: str, spec: Any) -> ServiceChannel:
    from tapewatch.channels.telegram import TelegramChannel, TelegramSettings

    return TelegramChannel(name, _settings(TelegramSettings, spec))


def _webhook(name: str, spec: Any) -> ServiceChannel:
    from tapewatch.channels.webhook import WebhookChannel, WebhookSettings

    return WebhookChannel(name, _settings(WebhookSettings, spec))


def _apprise(name: str, spec: Any) -> ServiceChannel:
    from tapewatch.channels.apprise import AppriseChannel, AppriseSettings

    return AppriseChannel(name, AppriseSettings(tuple(spec.url.get_secret_value().split()), spec.timeout / 1000))


def _settings(kind: Callable[..., T], spec: Any) -> T:
    """The settings of a service's channel: what is called as in its section, and how the service is reached."""
    from tapewatch.channels.http import Connection

    names = signature(kind).parameters.keys() - {"connection"}
    found = {name: _revealed(getattr(spec, name)) for name in names}
    return kind(**found, connection=Connection(spec.timeout / 1000, spec.ca_file))


def _revealed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _revealed(one) for key, one in value.items()}
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


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
