"""A message sent through a channel by hand: at the channel's pace, and noted where the run that is on counts it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tapewatch.channels.port import Channel, Outgoing
from tapewatch.channels.writer import Writer
from tapewatch.errors import EdgeError
from tapewatch.live.pace import MINUTE_MS, Limiter, Rules
from tapewatch.live.writing import Words
from tapewatch.store import Due, Message, Notice, Outbox, StoredAlert


async def send_test(
    channel: Channel,
    rules: Rules,
    writer: Writer,
    outbox: Outbox | None,
    now_ms: Callable[[], int],
    on_wait: Callable[[float], None],
) -> None:
    """Deliver a test message once, whatever the channel's state and quiet hours.

    Args:
        channel: the channel.
        rules: its limits.
        writer: writes the message.
        outbox: where attempts are noted; None where there is no ledger yet.
        now_ms: the wall clock.
        on_wait: is told how many seconds the channel's limit makes it wait.

    Raises:
        EdgeError: it was not delivered.
        StoreError: the ledger cannot be used.
    """
    if outbox is not None:
        at_ms = now_ms()
        rest_ms = Limiter(rules, outbox.attempts_since(channel.name, at_ms - MINUTE_MS)).free_ms(at_ms) - at_ms
        if rest_ms > 0:
            on_wait(min(rest_ms, MINUTE_MS) / 1000)
            await asyncio.sleep(min(rest_ms, MINUTE_MS) / 1000)
    at_ms = now_ms()
    text = f"Alerts sent through the channel {channel.name} arrive here."
    notice = Notice(f"test/{at_ms}", "[tapewatch] Test message", text, at_ms, "test")
    message = Message(notice.alert_id, channel.name, at_ms, "test")
    if outbox is not None:
        outbox.begin(notice, message)
    try:
        await channel.send(_written(notice, message, channel, writer))
    except EdgeError as error:
        if outbox is not None:
            outbox.mark_failed(message.message_id, now_ms(), str(error), next_ms=None)
        raise
    if outbox is not None:
        outbox.mark_sent(message.message_id, now_ms())


def _written(notice: Notice, message: Message, channel: Channel, writer: Writer) -> Outgoing:
    alert = StoredAlert(notice.alert_id, "test", notice.created_ms, False, notice.subject, notice.text, ())
    due = Due(message, alert, attempts=0, failures=0, delivered_to=())
    return Words(writer, useful_s=MINUTE_MS).outgoing(due, channel, message.created_ms)
