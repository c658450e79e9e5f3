"""The webhook channel: a signed JSON document to a server of the user's own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from tapewatch.channels.http import Connection, Service
from tapewatch.channels.port import Outgoing, Style
from tapewatch.model import Record, Side, Signal

#: The address is none (any more).
_GONE = frozenset({404, 410})


class Document(msgspec.Struct, kw_only=True):
    """What a webhook gets. Keys may be added, never renamed; times are milliseconds UTC; null stands for no number."""

    version: Annotated[Literal[1], Meta(description="Of this form.")]
    id: Annotated[str, Meta(description="Of the message; a repeat has the same.")]
    alert_id: Annotated[str, Meta(description="Of the alert; its messages to other channels have the same.")]
    kind: Annotated[str, Meta(description="What it is about: signal, operator, test, digest, entry, exit and others.")]
    created_ms: Annotated[int, Meta(description="When it was queued.")]
    sent_ms: Annotated[int, Meta(description="When this attempt began.")]
    possible_repeat: Annotated[bool, Meta(description="Whether it may have come before.")]
    late: Annotated[bool, Meta(description="Whether it comes late.")]
    severity: Annotated[Literal["low", "normal", "high", "critical"], Meta(description="How urgent it is.")]
    side: Annotated[Side | None, Meta(description="Of the leading signal.")]
    subject: Annotated[str, Meta(description="In one line.")]
    text: Annotated[str, Meta(description="In words.")]
    chart_url: Annotated[str | None, Meta(description="Leads to the chart.")]
    signal: Annotated[Signal | None, Meta(description="The leading signal, as `signals --json` prints it.")]
    record: Annotated[Record | None, Meta(description="What became of alerts like it.")]
    members: Annotated[tuple[str, ...], Meta(description="The ids of the alerts that a digest names.")]


@dataclass(frozen=True)
class WebhookSettings:
    """Where to, signed with what, and with which headers besides."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connection: Connection = field(default_factory=Connection)


class WebhookChannel:
    """Posts each message as a `Document`; any answer of 2xx means that it was taken.

    Raises:
        SetupError: of what `Service` says.
    """

    style: Style = "json"
    room: int | None = None

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        self.name = name
        self._settings = settings
        hidden = [settings.secret or "", *settings.headers.values()]
        self._service = Service("webhook", settings.url, settings.connection, secrets=hidden)

    async def send(self, outgoing: Outgoing) -> float | None:
        """Post one message.

        Raises:
            DeliveryError: not now.
            RejectedError: never: an answer of 4xx, or a redirect.
        """
        body = msgspec.json.encode(
            {"version": 1, "id": outgoing.message_id}
            | {name: getattr(outgoing, name) for name in Document.__struct_fields__ if name not in {"version", "id"}}
        )
        answer = await self._service.post("", body, self._headers(outgoing, body))
        if not answer.good:
            raise self._service.failure(answer, disable=answer.status in _GONE)
        return None

    async def probe(self) -> str:
        """What the server answers to OPTIONS, which posts nothing.

        Raises:
            DeliveryError: it does not answer, or has no such address.
        """
        answer = await self._service.ask("OPTIONS")
        if answer.status in _GONE or answer.status >= 500:
            raise self._service.failure(answer)
        return f"{self._service.host} answers {answer.status}"

    def _headers(self, outgoing: Outgoing, body: bytes) -> dict[str, str]:
        identity = quote(outgoing.message_id, safe="/@%:+")
        headers = {
            **self._settings.headers,
            "Content-Type": "application/json",
            "X-Tapewatch-Id": identity,
            "Idempotency-Key": identity,
        }
        if self._settings.secret is not None:
            at = str(outgoing.sent_ms // 1000)
            headers["X-Tapewatch-Timestamp"] = at
            headers["X-Tapewatch-Signature"] = f"v1={signature(self._settings.secret, at, body)}"
        return headers


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of the timestamp, a dot and the body, as hex digits."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def schema() -> dict[str, Any]:
    """The JSON Schema of a `Document`; wherever a number stands, null says that there is none."""
    made: dict[str, Any] = _finished(msgspec.json.schema(Document))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _finished(part: Any) -> Any:
    if isinstance(part, dict):
        if isinstance(part.get("description"), str):
            part = {**part, "description": " ".join(part["description"].partition("\n\n")[0].split())}
        changed = {key: _finished(value) for key, value in part.items()}
        return {**changed, "type": ["number", "null"]} if changed.get("type") == "number" else changed
    return [_finished(item) for item in part] if isinstance(part, list) else part
