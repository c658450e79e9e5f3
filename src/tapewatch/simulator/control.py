"""Control messages of a WebSocket connection and the replies the exchange gives to them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
#: Ours: "I have processed every bar that closes up to params[0]"; simulated time then waits for this connection.
PACE = "TAPEWATCH_PACE"

_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")


@dataclass(frozen=True)
class Request:
    """A well-formed control message."""

    method: str
    params: list[Any] = field(default_factory=list)
    id: int | str | None = None


class Refused(Exception):  # noqa: N818 - a reply, not a failure
    """A control message is answered with an error."""

    def __init__(self, code: int, message: str, identity: object = None) -> None:
        super().__init__(message)
        self.code, self.message, self.identity = code, message, identity

    def reply(self) -> bytes:
        """The error frame; code 4 has the nested shape that was seen in the wild, the others the documented one."""
        if self.code == 4:
            return _text({"error": {"code": self.code, "msg": self.message}, "id": self.identity})
        return _text({"code": self.code, "msg": self.message, "id": self.identity})


def parse(message: str) -> Request:
    """The request in a text frame.

    Raises:
        Refused: it is not one; with the documented code and text.
    """
    try:
        body = json.loads(message)
    except ValueError as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        raise Refused(3, f"Invalid JSON: expected value at line {line} column {column}") from error
    end = f"at line 1 column {len(message)}"
    if not isinstance(body, dict) or "method" not in body:
        raise Refused(2, f"Invalid request: missing field `method` {end}")
    method, identity, params = body["method"], body.get("id"), body.get("params", [])
    if method not in (*METHODS, PACE):
        listed = ", ".join(f"`{name}`" for name in METHODS)
        raise Refused(2, f"Invalid request: unknown variant `{method}`, expected one of {listed} {end}")
    if "id" not in body or not _identifies(identity):
        raise Refused(2, "Invalid request: request ID must be an unsigned integer")
    if not isinstance(params, list):
        raise Refused(2, f"Invalid request: invalid type for field `params` {end}", identity)
    if method in {"SUBSCRIBE", "UNSUBSCRIBE"} and not all(isinstance(name, str) for name in params):
        raise Refused(2, f"Invalid request: stream names must be strings {end}", identity)
    return Request(method, params, identity)


def property_value(request: Request) -> bool | None:
    """The value that a SET_PROPERTY gives to `combined`; None for a well-formed GET_PROPERTY.

    Raises:
        Refused: the property or its value is not known.
    """
    setting = request.method == "SET_PROPERTY"
    params = request.params
    if len(params) > 1 + setting:
        raise Refused(2, "Invalid request: too many parameters", request.id)
    if not params or not isinstance(params[0], str):
        raise Refused(2, "Invalid request: property name must be a string", request.id)
    if params[0] != "combined":
        raise Refused(0, "Unknown property", request.id)
    if not setting:
        return None
    if len(params) < 2 or not isinstance(params[1], bool):
        raise Refused(1, "Invalid value type: expected Boolean", request.id)
    return params[1]


def result(value: object, identity: object) -> bytes:
    """The frame of a successful reply."""
    return _text({"result": value, "id": identity})


def _identifies(value: object) -> bool:
    if value is None or (isinstance(value, str) and _ID.fullmatch(value)):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
