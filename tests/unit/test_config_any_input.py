"""Whatever is written, loading gives a configuration or says in words what is wrong."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tapewatch.config import load
from tapewatch.errors import ConfigError

WHOLE: dict[str, Any] = {
    "exchange": {"rest_url": "http://127.0.0.1:9000", "ws_url": "ws://127.0.0.1:9000", "ca_file": "x"},
    "universe": {"include": ["BTCUSDT"]},
    "feeds": {"settle": "3s", "weight_share": "50%"},
    "strategies": {"scalp": {"params": {"fast": 9}}},
    "gate": {"history": {"size": 5}},
    "alerts": {"routes": [{"channels": ["out"], "symbols": ["BTCUSDT"]}], "operator": {"channels": ["out"]}},
    "channels": {
        "out": {"type": "console"},
        "file": {"type": "file", "path": "a"},
        "mail": {
            "type": "email", "host": "localhost", "tls": "none", "port": 25, "user": "u", "password": "${PW}",
            "sender": "a@example.com", "recipients": ["b@example.com"],
        },
    },
    "ledger": {"url": "sqlite:///a.db"},
    "web": {"enabled": True, "host": "127.0.0.1", "port": 0},
    "logging": {"levels": {"feeds": "debug"}, "file": "l"},
    "telemetry": {"health_every": "1m"},
}  # fmt: skip

texts = st.text(max_size=12) | st.sampled_from(["${X}", "${", "~x/y", "${X:-}", "10s", "-1", "0", "on", "${PW}", "*"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, item in items for inner in paths_of(item, (*path, key)))]


def outcome(content: bytes, suffix: str, env: dict[str, str]) -> list[str]:
    """The problems; none when it loads. Anything but ConfigError fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{suffix}"
        path.write_bytes(content)
        try:
            load([path], env)
        except ConfigError as error:
            found = error.problems
        else:
            return []
        assert found
        assert all(problem.startswith((str(path), "TAPEWATCH__")) for problem in found), found
        return found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(paths_of(WHOLE)[1:]), values)
def test_any_value_anywhere(path: tuple[Any, ...], value: Any) -> None:
    """Any value in any place loads or is a problem with file, line and key; a secret in it is not shown."""
    document = json.loads(json.dumps(WHOLE))
    here = document
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    content = json.dumps(document, indent=1)
    for problem in outcome(content.encode(), ".json", {"PW": "correct-horse-42"}):
        assert re.match(r"\S+t\.json:\d+: ", problem), problem
        assert "correct-horse-42" not in problem


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet=" \n:-[]{}&*!|>'\"#%@`,?abc1${}.\t", max_size=60).map(str.encode))
@example(b"a: 2001-99-99")
@example(b"web: {port: !!int 0x}")
@example(b"? ")
@example(b"%YAML 9.9\n---\na: 1")
@example(b"!!binary x: 1")
@example(b"a: !!float x")
def test_any_bytes(content: bytes) -> None:
    """Any bytes load or are a problem in words."""
    for suffix in (".yaml", ".json"):
        outcome(content, suffix, {})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["EXCHANGE", "CHANNELS", "MAIL", "x", "0", "ROUTES", "ALERTS", ""]), max_size=4), texts)
def test_any_override(parts: list[str], value: str) -> None:
    """Any variable that looks like an override is used or is a problem that names a place."""
    outcome(json.dumps(WHOLE).encode(), ".json", {"PW": "x", "TAPEWATCH__" + "__".join(parts): value})
