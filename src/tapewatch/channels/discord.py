"""The Discord channel: an embed through a webhook, within Discord's limits and rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from tapewatch.channels.escape import body_of, cut, escape
from tapewatch.channels.http import Answer, Connection, Service, form_with_image, wait_s
from tapewatch.channels.port import Outgoing, Style

#: https://discord.com/developers/docs/resources/message#embed-object-embed-limits (exchange-protocol.md 11.1).
MOST_TITLE, MOST_DESCRIPTION = 256, 4_096
#: Told apart by those who do not see red and green apart (Okabe and Ito's palette).
_LONG, _SHORT, _CRITICAL, _OTHER = 0x0072B2, 0xD55E00, 0xCC79A7, 0x999999
#: The webhook is gone, or was never ours: asking again is punished.
_GONE = frozenset({401, 403, 404})
#: What a message may be refused for because of its image alone.
_NO_IMAGE = frozenset({400, 413})


@dataclass(frozen=True)
class DiscordSettings:
    """A webhook's URL and how its messages look; `thread_id` is a thread of its channel."""

    url: str = field(repr=False)
    username: str | None = None
    avatar_url: str | None = None
    thread_id: str | None = None
    connection: Connection = field(default_factory=Connection)


class DiscordChannel:
    """Posts each message as an embed and waits until Discord has stored it.

    Raises:
        SetupError: of what `Service` says.
    """

    style: Style = "markdown"
    room: int | None = MOST_DESCRIPTION

    def __init__(self, name: str, settings: DiscordSettings) -> None:
        self.name = name
        self._settings = settings
        self._service = Service("Discord", settings.url, settings.connection)

    async def send(self, outgoing: Outgoing) -> float | None:
        """Post one message; seconds until the webhook's next one where this was the last for now.

        Raises:
            DeliveryError: not now: no connection, too many requests, trouble at Discord.
            RejectedError: never: the message is refused, or there is no such webhook any more.
        """
        answer = await self._post(outgoing, outgoing.image)
        if outgoing.image is not None and answer.status in _NO_IMAGE:
            answer = await self._post(outgoing, None)
        document = answer.document
        if answer.good and "id" in document:
            return _pause_s(answer)
        raise self._service.failure(
            answer,
            document.get("message"),
            retry_after_s=wait_s(document.get("retry_after")),
            disable=answer.status in _GONE,
        )

    async def _post(self, outgoing: Outgoing, image: bytes | None) -> Answer:
        thread = f"&thread_id={self._settings.thread_id}" if self._settings.thread_id else ""
        query, message = f"?wait=true{thread}", msgspec.json.encode(self._message(outgoing, image))
        if image is None:
            return await self._service.post(query, message, {"Content-Type": "application/json"})
        form = form_with_image({"payload_json": message.decode()}, "files[0]", image)
        return await self._service.post(query, form, {})

    async def probe(self) -> str:
        """The webhook's name.

        Raises:
            DeliveryError: there is none that answers.
        """
        answer = await self._service.ask("GET")
        document = answer.document
        if not answer.good or "id" not in document:
            raise self._service.failure(answer, document.get("message"))
        return f"{self._service.host} has the webhook {self._service.said(str(document.get('name') or ''))!r}"

    def _message(self, outgoing: Outgoing, image: bytes | None) -> dict[str, Any]:
        embed: dict[str, Any] = {
            "title": cut(escape("markdown", outgoing.subject), MOST_TITLE),
            "description": cut(body_of(outgoing, self.style).strip(), MOST_DESCRIPTION),
            "color": _color(outgoing),
            "timestamp": datetime.fromtimestamp(outgoing.created_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        }
        if outgoing.chart_url is not None:
            embed["url"] = outgoing.chart_url
        if image is not None:
            embed["image"] = {"url": "attachment://chart.png"}
        looks = {"username": self._settings.username, "avatar_url": self._settings.avatar_url}
        return {
            "embeds": [embed],
            "allowed_mentions": {"parse": []},
            **{key: value for key, value in looks.items() if value is not None},
        }


def _color(outgoing: Outgoing) -> int:
    if outgoing.side is not None:
        return _LONG if outgoing.side == "long" else _SHORT
    return _CRITICAL if outgoing.severity == "critical" else _OTHER


def _pause_s(answer: Answer) -> float | None:
    spent = wait_s(answer.headers.get("X-RateLimit-Remaining")) == 0
    return wait_s(answer.headers.get("X-RateLimit-Reset-After")) if spent else None
