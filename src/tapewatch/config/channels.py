"""The sections of channels, by type."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, SecretStr, model_validator

from tapewatch.config.section import Section
from tapewatch.config.values import (
    Address,
    BotToken,
    ChatId,
    DiscordUrl,
    DurationMs,
    HeaderName,
    HeaderValue,
    HttpUrl,
    Name,
    Port,
    SecretUrl,
    TimeOfDay,
    Whole,
)


class Quiet(Section):
    """Hours of each day, in `alerts.time_zone`, during which a channel sends nothing; over midnight where `to` is less.

    In minutes after midnight, as [start, end).
    """

    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")

    @model_validator(mode="after")
    def _some_time_left(self) -> Self:
        if self.start == self.end:
            raise ValueError("from and to must differ, or the channel would never be heard")
        return self


PerMinute = Annotated[Whole, Field(ge=0, le=6_000)]


class ChannelSection(Section):
    """What every type of channel has.

    `fallback`: channels that get, in this order, what this one cannot deliver. `per_minute`: attempts in any 60 s, of
    which some are kept for digests when there is more to say; 0 for no limit. `quiet`: when it is silent.
    """

    fallback: list[Name] = []
    per_minute: PerMinute = 0
    quiet: Quiet | None = None


class ConsoleChannel(ChannelSection):
    """Prints alerts on stdout."""

    type: Literal["console"]


class FileChannel(ChannelSection):
    """Appends alerts to a file as JSON Lines."""

    type: Literal["file"]
    path: Path


class EmailChannel(ChannelSection):
    """Sends alerts by SMTP; the default port follows `tls`."""

    secrets: ClassVar[tuple[str, ...]] = ("password",)

    type: Literal["email"]
    host: Name
    tls: Literal["implicit", "starttls", "none"] = "starttls"
    port: Annotated[Port, Field(ge=1)]
    user: Annotated[str, Field(min_length=1)] | None = None
    password: SecretStr | None = None
    sender: Address
    recipients: Annotated[list[Address], Field(min_length=1)]
    ca_file: Path | None = None
    timeout: DurationMs = 10_000
    per_minute: PerMinute = 30

    @model_validator(mode="before")
    @classmethod
    def _port_by_tls(cls, data: Any) -> Any:
        if isinstance(data, dict) and "port" not in data:
            ports = {"implicit": 465, "none": 25}
            return {**data, "port": ports.get(str(data.get("tls")), 587)}
        return data


class DiscordChannel(ChannelSection):
    """Posts alerts through a Discord webhook; `thread_id` is for a thread or a post of a forum."""

    secrets: ClassVar[tuple[str, ...]] = ("url",)

    type: Literal["discord"]
    per_minute: PerMinute = 30
    url: DiscordUrl
    username: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    avatar_url: HttpUrl | None = None
    thread_id: Annotated[str, Field(pattern=r"^\d{1,20}$")] | None = None
    ca_file: Path | None = None
    timeout: DurationMs = 10_000


class TelegramChannel(ChannelSection):
    """Sends alerts as a Telegram bot.

    `message_thread_id`: a topic of a forum. `api_url`: a Bot API server of one's own. `silent`: whether alerts come
    without a sound.
    """

    secrets: ClassVar[tuple[str, ...]] = ("token",)

    type: Literal["telegram"]
    per_minute: PerMinute = 20
    token: BotToken
    chat_id: ChatId
    format: Literal["html", "plain"] = "html"
    message_thread_id: Annotated[Whole, Field(ge=1)] | None = None
    silent: bool = False
    api_url: HttpUrl = "https://api.telegram.org"
    ca_file: Path | None = None
    timeout: DurationMs = 10_000


class WebhookChannel(ChannelSection):
    """Posts alerts as JSON, signed where there is a `secret`, with `headers` besides, whose values are not shown."""

    secrets: ClassVar[tuple[str, ...]] = ("url", "secret")

    type: Literal["webhook"]
    url: SecretUrl
    secret: SecretStr | None = None
    headers: dict[HeaderName, HeaderValue] = {}
    ca_file: Path | None = None
    timeout: DurationMs = 10_000


class AppriseChannel(ChannelSection):
    """Sends alerts to services that the Apprise library knows by a URL; several URLs are parted by spaces or lines."""

    secrets: ClassVar[tuple[str, ...]] = ("url",)

    type: Literal["apprise"]
    per_minute: PerMinute = 20
    url: SecretStr
    timeout: DurationMs = 10_000


Channel = Annotated[
    ConsoleChannel | FileChannel | EmailChannel | DiscordChannel | TelegramChannel | WebhookChannel | AppriseChannel,
    Discriminator("type"),
]
CHANNEL_TYPES: dict[str, type[ChannelSection]] = {
    "console": ConsoleChannel,
    "file": FileChannel,
    "email": EmailChannel,
    "discord": DiscordChannel,
    "telegram": TelegramChannel,
    "webhook": WebhookChannel,
    "apprise": AppriseChannel,
}
