"""One POST to a service whose address is a secret, and what each way it can end means for the message."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from tapewatch import __version__
from tapewatch.channels.labels import plain
from tapewatch.channels.port import DeliveryError, RejectedError
from tapewatch.errors import SetupError
from tapewatch.network import check_url, proxy_for, tls_for_http, told

if TYPE_CHECKING:
    import aiohttp

#: As much of an answer as is read.
MOST_BYTES = 65_536
#: No wait that a service asks for is longer: what it says may be broken.
MOST_WAIT_S = 86_400.0
_TOO_MANY, _TOO_SLOW, _TOO_EARLY, _NOT_TAKEN = 429, 408, 425, 503


class Answer(NamedTuple):
    """What a service answered, its headers by names of any case; `body` is what came, `whole` whether that is all."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def good(self) -> bool:
        """Whether the status says that the request was done."""
        return 200 <= self.status < 300

    @property
    def document(self) -> dict[str, Any]:
        """The object that the body is as JSON; empty where it is none."""
        import msgspec

        with suppress(msgspec.DecodeError):
            document = msgspec.json.decode(self.body) if self.whole else None
            return document if isinstance(document, dict) else {}
        return {}


@dataclass(frozen=True)
class Connection:
    """How a service is reached: all in all `timeout_s` for one request, trusting `ca_file` beside the system."""

    timeout_s: float = 10.0
    ca_file: Path | None = None


class Service:
    """A service at `url`, called `what` in errors.

    Args:
        what: its name for the user.
        url: where it is; a secret, as `secrets` are.
        connection: how it is reached.
        secrets: what beside the URL's path must be in no error.
        key: the configuration key that holds the URL.

    Raises:
        SetupError: the URL is none, or not encrypted and not of this machine; the CA file or the proxy that the
            environment names is none.
    """

    def __init__(
        self, what: str, url: str, connection: Connection, *, secrets: Sequence[str] = (), key: str = "url"
    ) -> None:
        try:
            check_url(url, ("http", "https"), key)
        except SetupError:  # its text holds the URL
            raise SetupError(
                f"{key}: must be a URL that begins with https:// (http:// is allowed to this machine only)"
            ) from None
        parts = urlsplit(url)
        self.host = parts.netloc.rpartition("@")[2]
        self._what, self._url, self._timeout_s = what, url, connection.timeout_s
        self._tls = tls_for_http(connection.ca_file, "ca_file") if parts.scheme == "https" else True
        self._proxy = proxy_for(f"{parts.scheme}://{self.host}")
        pieces = [url, *parts.path.split("/"), parts.query, parts.username or "", parts.password or ""]
        self._hidden = hidden_forms([*secrets, *(piece for piece in pieces if len(piece) > 5)])

    @property
    def path(self) -> str:
        """The path of its URL."""
        return urlsplit(self._url).path

    async def post(self, path: str, body: bytes | aiohttp.FormData, headers: Mapping[str, str]) -> Answer:
        """The answer to a POST, whatever its status; redirects are not followed.

        Raises:
            DeliveryError: there was no answer, with whether the request may have been taken all the same.
        """
        return await self._ask("POST", path, headers, body)

    async def ask(self, method: Literal["GET", "OPTIONS"], path: str = "") -> Answer:
        """The answer to a request that changes nothing, as of `post`."""
        return await self._ask(method, path, {}, None)

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | aiohttp.FormData | None
    ) -> Answer:
        import aiohttp

        from tapewatch.socks import Connector

        taken = False

        async def mark(*_: object) -> None:
            nonlocal taken
            taken = method == "POST"

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(mark)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=Connector(ssl=self._tls),
                    timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                    headers={"User-Agent": f"tapewatch/{__version__}", "Accept-Encoding": "identity"},
                    trace_configs=[trace],
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                session.request(
                    method, self._url + path, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
                ) as response,
            ):
                return Answer(response.status, response.headers, *await _read(response))
        except TimeoutError:
            reason = f"no answer within {self._timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = self.said(told(error))
        raise DeliveryError(f"{self._what} {self.host}: {reason}", whole_channel=True, maybe_delivered=taken)

    def failure(
        self, answer: Answer, said: object = None, *, retry_after_s: float | None = None, disable: bool = False
    ) -> DeliveryError:
        """The error that an answer without success is.

        Args:
            answer: what came; a good status means that its body was not what such a service answers.
            said: its reason, in its words.
            retry_after_s: how long it asked to be left alone, where its body said that.
            disable: whether it says that it must not be asked again.
        """
        words = f": {self.said(said)}" if isinstance(said, str) and said.strip() else ""
        text, status = f"{self._what} {self.host} answered {answer.status}{words}", answer.status
        wait_s = retry_after_s if retry_after_s is not None else header_wait_s(answer.headers)
        if answer.good:
            return DeliveryError(f"{text}, but not as it should", whole_channel=True, maybe_delivered=True)
        if status == _TOO_MANY:
            return DeliveryError(text, retry_after_s=wait_s, whole_channel=True)
        if status >= 500:
            # What a service that was there did before it failed is not known.
            taken = status != _NOT_TAKEN
            return DeliveryError(text, retry_after_s=wait_s, whole_channel=True, maybe_delivered=taken)
        if status in (_TOO_SLOW, _TOO_EARLY):
            return DeliveryError(text, retry_after_s=wait_s)
        return RejectedError(text, whole_channel=disable, disable=disable)

    def said(self, text: str) -> str:
        """What came from outside, on one line, without the secrets in it."""
        return without(self._hidden, text)


def hidden_forms(secrets: Iterable[str]) -> list[str]:
    """Every form in which these secrets could be repeated, the longest first."""
    forms = {
        form
        for secret in secrets
        if secret
        for form in (secret, quote(secret), quote(secret, safe=""), unquote(secret))
    }
    return sorted(forms, key=len, reverse=True)


def without(hidden: Iterable[str], text: str) -> str:
    """A text from outside on one line, of a bounded length, with `***` for what is hidden."""
    text = plain(text)
    for secret in hidden:
        text = text.replace(secret, "***")
    return text[:300]


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """What comes of a body up to the limit, and whether that is all."""
    import aiohttp

    body = b""
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MOST_BYTES:
                return body[:MOST_BYTES], False
    except (aiohttp.ClientError, OSError):  # cut in the middle: the status has come, and counts
        return body, False
    return body, True


def wait_s(value: object) -> float | None:
    """Seconds to wait as a service writes them, a whole number, a fraction or a text of one; None for anything else."""
    try:
        seconds = float(value)  # type: ignore[arg-type]  # what is no number is caught
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.0), MOST_WAIT_S) if math.isfinite(seconds) else None


def header_wait_s(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` asks for: seconds, or a date, which is counted from the service's own."""
    from email.utils import parsedate_to_datetime

    after = headers.get("Retry-After")
    if after is None or (seconds := wait_s(after)) is not None:
        return None if after is None else seconds
    with suppress(ValueError, TypeError):
        until = parsedate_to_datetime(after)
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return wait_s((until - now).total_seconds())
    return None


def form_with_image(fields: Mapping[str, str], name: str, image: bytes) -> aiohttp.FormData:
    """A multipart body of these fields and a PNG."""
    import aiohttp

    form = aiohttp.FormData()
    for key, value in fields.items():
        form.add_field(key, value)
    form.add_field(name, image, filename="chart.png", content_type="image/png")
    return form
