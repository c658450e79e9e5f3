"""The Telegram channel: a bot's message in HTML or plain text, with the chart where a caption has room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from tapewatch.channels.escape import cut, cut_html, escape, inert, shown_units
from tapewatch.channels.http import Answer, Connection, Service, form_with_image, wait_s
from tapewatch.channels.port import DeliveryError, Outgoing, Style

API_URL = "https://api.telegram.org"
#: Of a text and of a photo's caption, once its marks are read (exchange-protocol.md 11.2).
MOST_TEXT, MOST_CAPTION = 4_096, 1_024
_SUBJECT_ROOM = 256
#: The token is none, or the bot was thrown out: asking again changes nothing.
_GONE = frozenset({401, 403, 404})
_BAD_REQUEST = 400


@dataclass(frozen=True)
class TelegramSettings:
    """A bot's token and the chat it writes to; `message_thread_id` is a topic of a forum."""

    token: str = field(repr=False)
    chat_id: str
    format: Literal["html", "plain"] = "html"
    message_thread_id: int | None = None
    silent: bool = False
    api_url: str = API_URL
    connection: Connection = field(default_factory=Connection)


class TelegramChannel:
    """Sends each message to one chat.

    Raises:
        SetupError: of what `Service` says.
    """

    def __init__(self, name: str, settings: TelegramSettings) -> None:
        self.name = name
        self.style: Style = "telegram" if settings.format == "html" else "plain"
        # A plain body does not hold the subject, which goes before it.
        self.room: int | None = MOST_TEXT if settings.format == "html" else MOST_TEXT - _SUBJECT_ROOM
        self._settings = settings
        url = f"{settings.api_url}/bot{settings.token}"
        self._service = Service("Telegram", url, settings.connection, secrets=[settings.token], key="api_url")

    async def send(self, outgoing: Outgoing) -> float | None:
        """Send one message.

        What Telegram cannot read as HTML is sent once more as plain text, what it cannot show as a photo as text.

        Raises:
            DeliveryError: not now: no connection, too many messages, trouble at Telegram.
            RejectedError: never: there is no such chat, the bot may not write there, the token is none.
        """
        failure: DeliveryError | None = None
        for method, fields in self._ways(outgoing):
            answer = await self._ask(method, fields, outgoing.image)
            document = answer.document
            if answer.good and document.get("ok") is True:
                return None
            failure = self._failure(answer, document)
            if answer.status != _BAD_REQUEST or (
                method == "sendMessage" and "parse" not in str(document.get("description"))
            ):
                break
        assert failure is not None
        raise failure

    async def probe(self) -> str:
        """The bot's name.

        Raises:
            DeliveryError: Telegram does not answer, or not to this token.
        """
        answer = await self._service.ask("GET", "/getMe")
        document = answer.document
        if not answer.good or document.get("ok") is not True:
            raise self._failure(answer, document)
        result = document.get("result")
        bot = result.get("username") if isinstance(result, dict) else None
        return f"{self._service.host} knows the bot {self._service.said(str(bot))}; whether it may write is not known"

    def _ways(self, outgoing: Outgoing) -> list[tuple[str, dict[str, Any]]]:
        """The requests to make, each where the one before was not understood."""
        plain_text = {"text": cut(inert(f"{outgoing.subject}\n\n{outgoing.text}".strip()), MOST_TEXT)}
        written, mode = plain_text["text"], {}
        if self.style == "telegram":
            written, mode = (outgoing.body or _html(outgoing)).strip(), {"parse_mode": "HTML"}
        ways: list[tuple[str, dict[str, Any]]] = []
        if outgoing.image is not None and shown_units(written, self.style) <= MOST_CAPTION:
            ways.append(("sendPhoto", {"caption": written, **mode}))
        if mode:
            ways.append(("sendMessage", {"text": cut_html(written, MOST_TEXT), **mode}))
        return [*ways, ("sendMessage", plain_text)]

    async def _ask(self, method: str, fields: dict[str, Any], image: bytes | None) -> Answer:
        asked: dict[str, Any] = {"chat_id": self._settings.chat_id, **fields}
        if self._settings.message_thread_id is not None:
            asked["message_thread_id"] = self._settings.message_thread_id
        if self._settings.silent:
            asked["disable_notification"] = True
        if method == "sendPhoto" and image is not None:
            texts = {
                key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
                for key, value in asked.items()
            }
            return await self._service.post("/sendPhoto", form_with_image(texts, "photo", image), {})
        body = msgspec.json.encode({**asked, "link_preview_options": {"is_disabled": True}})
        return await self._service.post("/sendMessage", body, {"Content-Type": "application/json"})

    def _failure(self, answer: Answer, document: dict[str, Any]) -> DeliveryError:
        parameters = document.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        said = document.get("description")
        if (moved := parameters.get("migrate_to_chat_id")) is not None:
            said = f"{said} (chat_id is now {moved})"
        return self._service.failure(
            answer, said, retry_after_s=wait_s(parameters.get("retry_after")), disable=answer.status in _GONE
        )


def _html(outgoing: Outgoing) -> str:
    lines = (escape("telegram", line) for line in outgoing.text.splitlines())
    return "\n".join([f"<b>{escape('telegram', outgoing.subject)}</b>", "", *lines])
