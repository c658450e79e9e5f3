"""What `check --connect` asks of each channel, up to the login; nothing is sent."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from tapewatch.cli.finding import Finding
from tapewatch.cli.probe_places import written
from tapewatch.config.channels import ConsoleChannel, EmailChannel, FileChannel
from tapewatch.errors import EdgeError, TapewatchError


async def channel(name: str, spec: Any) -> Finding:
    """Whether a channel would deliver, as far as can be known without doing so."""
    target = f"{name} ({spec.type})"
    if isinstance(spec, FileChannel):
        found = written("channel", spec.path)
        return Finding("channel", found.status, target, f"{spec.path} {found.detail}")
    if isinstance(spec, ConsoleChannel):
        return Finding("channel", "pass", target, "prints on stdout")
    from tapewatch.channels import probe

    began = time.perf_counter()
    try:
        said = await (_mail(spec) if isinstance(spec, EmailChannel) else probe(name, spec))
    except TapewatchError as error:
        return Finding("channel", "fail", target, str(error))
    took_ms = round((time.perf_counter() - began) * 1000, 1)
    limit_ms = float(spec.timeout)
    return Finding("channel", "pass", target, f"{said}; nothing was sent", value=took_ms, unit="ms", limit=limit_ms)


async def _mail(spec: EmailChannel) -> str:
    """What answers, in words. Raises TapewatchError."""
    import aiosmtplib

    from tapewatch.network import tls_context

    server = f"{spec.host}:{spec.port}"
    context = None if spec.tls == "none" else tls_context(spec.ca_file, "ca_file")
    client = aiosmtplib.SMTP(
        hostname=spec.host,
        port=spec.port,
        timeout=spec.timeout / 1000,
        use_tls=spec.tls == "implicit",
        start_tls=False,
        tls_context=context,
    )
    try:
        await client.connect()
        if spec.tls == "starttls":
            await client.starttls()
        await client.ehlo()
        if spec.user is not None and spec.password is not None:
            await client.login(spec.user, spec.password.get_secret_value())
        with suppress(aiosmtplib.SMTPException):
            await client.quit()
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        raise EdgeError(f"{server}: {_without(spec, str(error) or 'no answer')}") from None
    finally:
        client.close()
    return f"{server} answers" + ("" if spec.user is None else f", logged in as {spec.user}")


def _without(spec: EmailChannel, text: str) -> str:
    """What a server said, on one line; some repeat what they were given."""
    secret = "" if spec.password is None else spec.password.get_secret_value()
    return " ".join((text.replace(secret, "***") if secret else text).split())
