"""The webhook channel against a server that checks what the documentation says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

from channel_servers import Webhook, status
from delivery_samples import outgoing, signal
from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.channels.webhook import Document, WebhookChannel, WebhookSettings, schema
from tapewatch.model import Rate, Record
from tapewatch.store.records import Kind

COPY = Path(__file__).parents[2] / "docs" / "webhook.schema.json"


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    """A server of the user's."""
    service = Webhook()
    async with service.running():
        yield service


def channel(webhook: Webhook, **changes: Any) -> WebhookChannel:
    """A channel to it."""
    settings: dict[str, Any] = {"url": f"{webhook.url}{webhook.path}", "secret": webhook.secret} | changes
    return WebhookChannel("bridge", WebhookSettings(**settings))


def plain(value: Any) -> Any:
    """A value as the relay hands it on."""
    return msgspec.json.decode(msgspec.json.encode(value))


RECORD = Record(
    strategy="scalp", side="long", timeframe="1m", last=Rate(50, 30, 0.46, 0.72), all=Rate(816, 488, 0.56, 0.63),
    baseline=float("nan"), baseline_n=0, gross_r=0.01, net_r=-3.0, net_quote=-4.5, cost_bps=20.0,
)  # fmt: skip


@pytest.mark.parametrize("kind", get_args(Kind))
async def test_every_kind_of_message_is_of_the_schema(kind: str, webhook: Webhook) -> None:
    """With everything there is to say of it, and with nothing; numbers that are none are null."""
    full = {
        "signal": plain(signal(strength=float("nan"))), "record": plain(RECORD), "side": "long", "severity": "high",
        "chart_url": "https://example.com/chart", "members": ("a", "b"), "late": True,
    }  # fmt: skip
    await channel(webhook).send(outgoing("a1@bridge", kind=kind, **full))
    await channel(webhook).send(outgoing("a2@bridge", kind=kind, signal=None))

    for document in webhook.documents:
        jsonschema.validate(document, schema())
        assert set(document) == set(Document.__struct_fields__)
    assert webhook.documents[0]["signal"]["strength"] is None


def test_the_schema_refuses_what_is_missing_or_of_another_type() -> None:
    """It can tell a wrong document from a right one."""
    right = {"version": 1, "id": "a"} | {
        name: getattr(outgoing(signal=None), name)
        for name in Document.__struct_fields__
        if name not in {"version", "id"}
    }
    document = plain(right)
    jsonschema.validate(document, schema())
    for wrong in ({"severity": "urgent"}, {"created_ms": "now"}, {"signal": {"id": "x"}}, {"version": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | wrong, schema())
    del document["id"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema())


def test_the_copy_in_the_documentation_is_the_schema() -> None:
    """`tapewatch alerts schema > docs/webhook.schema.json` makes it."""
    assert json.loads(COPY.read_text("utf-8")) == json.loads(json.dumps(schema()))


async def test_a_repeat_can_be_told_by_its_key(webhook: Webhook) -> None:
    """The second time the same key, another time: a server that keeps keys has the message once."""
    await channel(webhook).send(outgoing("a/ü%2F1@büro"))
    await channel(webhook).send(outgoing("a/ü%2F1@büro", possible_repeat=True, sent_ms=1_747_750_099_000))

    assert (len(webhook.documents), webhook.repeats) == (1, 1)
    assert webhook.headers[0]["Idempotency-Key"] == webhook.headers[0]["X-Tapewatch-Id"] == "a/%C3%BC%2F1@b%C3%BCro"
    assert webhook.documents[0]["id"] == "a/ü%2F1@büro"


async def test_headers_of_the_user_go_along(webhook: Webhook) -> None:
    """And do not take the place of those that say what the body is."""
    await channel(webhook, headers={"Authorization": "Bearer sesame-too"}).send(outgoing())

    assert webhook.headers[0]["Authorization"] == "Bearer sesame-too"
    assert webhook.headers[0]["Content-Type"] == "application/json"
    assert webhook.headers[0]["X-Tapewatch-Timestamp"] == "1747750020"


async def test_a_wrong_or_missing_signature_is_not_taken(webhook: Webhook) -> None:
    """The server checks it: without the secret, or with another one, nothing is delivered."""
    for secret in ("sesame-other", None):
        with pytest.raises(RejectedError, match="answered 401") as caught:
            await channel(webhook, secret=secret).send(outgoing())
        assert "sesame" not in str(caught.value)
    assert webhook.documents == []


async def test_a_probe_posts_nothing(webhook: Webhook) -> None:
    """Any answer will do but that there is no such address, or that the server is down."""
    assert "answers 204" in await channel(webhook).probe()
    webhook.script = [status(405), status(404), status(500)]
    assert "answers 405" in await channel(webhook).probe()
    for _ in range(2):
        with pytest.raises(DeliveryError):
            await channel(webhook).probe()
    assert webhook.documents == []
