"""Server frames of the WebSocket protocol, as they are on the wire."""

from __future__ import annotations

from typing import Literal

_OPCODES = {"text": 0x81, "ping": 0x89, "pong": 0x8A}


def framed(kind: Literal["text", "ping", "pong"], payload: bytes) -> bytes:
    """An unmasked frame, whole and without extensions."""
    size = len(payload)
    if size < 126:
        return bytes((_OPCODES[kind], size)) + payload
    if size < 65536:
        return bytes((_OPCODES[kind], 126)) + size.to_bytes(2, "big") + payload
    return bytes((_OPCODES[kind], 127)) + size.to_bytes(8, "big") + payload
