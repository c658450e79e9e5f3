"""The Apprise channel: any service that the Apprise library knows by a URL, at our pace and with our retries."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tapewatch.channels.escape import escape, inert
from tapewatch.channels.http import hidden_forms, without
from tapewatch.channels.port import DeliveryError, Outgoing, Style
from tapewatch.channels.thread import OwnThread
from tapewatch.errors import SetupError
from tapewatch.network import is_loopback

#: What a thread's sending was told by the library's log.
_heard: ContextVar[list[str] | None] = ContextVar("_heard", default=None)
#: How services word the status of an answer, and those that say that nothing was taken.
_STATUS = re.compile(r"error=(\d{3})")
_NOT_TAKEN = re.compile(r"4\d\d|503")
_URGENCY = {"critical": "failure", "high": "warning"}


@dataclass(frozen=True)
class AppriseSettings:
    """URLs of the Apprise library, each a service; `timeout_s` is for connecting and for each answer."""

    urls: tuple[str, ...] = field(repr=False)
    timeout_s: float = 10.0


class AppriseChannel:
    """Sends each message to every one of its services, each once.

    Raises:
        SetupError: the library is not installed, a URL is none of its, or one leaves this machine without encryption.
    """

    style: Style = "plain"
    room: int | None = None

    def __init__(self, name: str, settings: AppriseSettings) -> None:
        self.name = name
        self._library = _library()
        self._timeout_s = settings.timeout_s
        self._targets = dict(_target(self._library, url, settings.timeout_s) for url in settings.urls)
        self._threads = {label: OwnThread() for label in self._targets}
        self._hidden = hidden_forms(piece for url in settings.urls for piece in _pieces(url))

    async def send(self, outgoing: Outgoing) -> float | None:
        """Send one message to the services that do not have it yet.

        Raises:
            DeliveryError: some did not take it; whether trying again helps, the library does not say.
        """
        taken, refused, in_doubt = list(outgoing.delivered_to), [], False
        before = len(taken)
        for label, target in self._targets.items():
            if label in outgoing.delivered_to:
                continue
            reason = await self._notify(label, target, outgoing)
            if reason is None:
                taken.append(label)
                continue
            refused.append(f"{label}: {without(self._hidden, reason)}")
            codes = _STATUS.findall(reason)
            in_doubt |= not codes or not all(map(_NOT_TAKEN.fullmatch, codes))
        if refused:
            text = f"Apprise: {'; '.join(refused)}"
            raise DeliveryError(text, delivered_to=taken, maybe_delivered=in_doubt, whole_channel=len(taken) == before)
        return None

    async def probe(self) -> str:
        """The services' names; nothing is asked of them, since the library has no way to."""
        return f"Apprise knows {', '.join(self._targets)}; whether they answer is not known"

    async def _notify(self, label: str, target: Any, outgoing: Outgoing) -> str | None:
        """None where the service has taken it, else why not."""
        heard: list[str] = []
        token = _heard.set(heard)
        try:
            async with asyncio.timeout(2 * self._timeout_s):
                if await self._threads[label].run(self._notify_now, target, outgoing):
                    return None
        except TimeoutError:
            return f"no answer within {2 * self._timeout_s:g} s"
        except DeliveryError as error:
            return str(error)
        finally:
            _heard.reset(token)
        return " ".join(heard) or "not delivered"

    def _notify_now(self, target: Any, outgoing: Outgoing) -> bool:
        formats = self._library.NotifyFormat
        taken = target.notify_format if isinstance(target.notify_format, tuple) else (target.notify_format,)
        only_markdown = formats.MARKDOWN in taken and formats.TEXT not in taken
        style: Style = "markdown" if only_markdown else "plain"
        text = "\n".join(escape(style, line) for line in outgoing.text.splitlines())
        server = self._library.Apprise()
        server.add(target)
        return bool(
            server.notify(
                body=inert(text),
                title=inert(escape(style, outgoing.subject)),
                notify_type=self._library.NotifyType(_URGENCY.get(outgoing.severity, "info")),
                body_format=formats.MARKDOWN if only_markdown else formats.TEXT,
            )
        )


class _Listener(logging.Handler):
    """Takes what the library says of a sending to whom it concerns, and nowhere else: it names URLs."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = _heard.get()
        if heard is not None and record.levelno >= logging.WARNING:
            heard.append(record.getMessage())


def _library() -> Any:
    try:
        import apprise
    except ImportError:
        raise SetupError(
            "type: the apprise package is not installed; `pip install 'tapewatch[apprise]'` does it"
        ) from None
    for name in ("apprise", "urllib3"):
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _Listener) for handler in logger.handlers):
            logger.addHandler(_Listener())
            logger.propagate = False
    return apprise


def _target(library: Any, url: str, timeout_s: float) -> tuple[str, Any]:
    """A service and what it is called in errors and in the ledger, which is no secret."""
    scheme = url.partition("://")[0].lower() if re.match(r"[A-Za-z0-9]{1,20}://", url) else "apprise"
    label = f"{scheme}#{hashlib.blake2b(url.encode(), digest_size=3).hexdigest()}"
    target = library.Apprise.instantiate(url, suppress_exceptions=True)
    if target is None:
        named = "what is given" if scheme == "apprise" else f"{scheme}://…"
        raise SetupError(f"url: {named} is no URL of a service of Apprise, as ntfys://topic is")
    in_clear = target.protocol if isinstance(target.protocol, (tuple, list)) else (target.protocol,)
    host = str(getattr(target, "host", None) or "")
    if scheme in in_clear and target.secure_protocol and not is_loopback(host):
        secure = target.secure_protocol if isinstance(target.secure_protocol, str) else target.secure_protocol[0]
        raise SetupError(f"url: {scheme}:// is not encrypted; {secure}:// is ({scheme}:// is for this machine only)")
    if not target.verify_certificate:
        raise SetupError("url: verify=no would trust anybody; certificates are always checked")
    target.redirects = False
    target.request_rate_per_sec = 0  # the relay's pace and its repeats, not the library's
    target.retry = 0
    target.optional = False  # or a failure would be told as a success
    target.socket_connect_timeout = target.socket_read_timeout = timeout_s
    return label, target


def _pieces(url: str) -> list[str]:
    """What of a URL must be in no error: all but its scheme and the names of its parameters."""
    parts = urlsplit(url)
    values = [value.partition("=")[2] for value in parts.query.split("&")]
    pieces = [parts.username or "", parts.password or "", *parts.path.split("/"), *values]
    return [url, *(unquote(piece) for piece in pieces if len(piece) > 5)]
