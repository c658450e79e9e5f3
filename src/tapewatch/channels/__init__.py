"""Channels deliver alerts: the port, its adapters, how alerts are written and where they go."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tapewatch.channels.port import Channel, DeliveryError, Outgoing, RejectedError
from tapewatch.errors import SetupError

__all__ = ["Channel", "DeliveryError", "Outgoing", "RejectedError", "build"]


def build(name: str, spec: Any, *, console: TextIO | None = None) -> Channel:
    """The channel a configuration describes.

    Args:
        name: its name in the configuration.
        spec: its section, whose `type` is `console`, `file` or `email`.
        console: where a console channel prints; stdout unless given.

    Raises:
        SetupError: what the section says cannot work, naming the channel.
    """
    try:
        return _build(name, spec, console or sys.stdout)
    except SetupError as error:
        raise SetupError(f"channels.{name}: {error}") from None


def _build(name: str, spec: Any, console: TextIO) -> Channel:
    if spec.type == "console":
        from tapewatch.channels.console import ConsoleChannel

        return ConsoleChannel(name, console)
    if spec.type == "file":
        from tapewatch.channels.file import FileChannel

        return FileChannel(name, spec.path)
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
