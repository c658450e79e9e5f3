"""A candle is the same bits whether a file or REST brought it."""

import json
import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.archive import klines
from tapewatch.feeds.wire import decode_rows
from tapewatch.simulator.decimals import text

#: Numbers as the exchange writes them: up to 8 decimals, and some with more digits than a double holds.
AMOUNTS = st.integers(0, 10**17).map(lambda units: units / 1e8) | st.floats(1e-8, 1e12, allow_nan=False)
EIGHT = st.integers(0, 10**19).map(lambda units: f"{units // 10**8}.{units % 10**8:08d}")


@given(st.lists(st.tuples(*[AMOUNTS.map(text) | EIGHT] * 8), min_size=1, max_size=20))
def test_files_and_rest_give_the_same_bits(rows: list[tuple[str, ...]]) -> None:
    """And those are Python's own: both readers round correctly."""
    lines, answer = [], []
    for number, (first, high, low, last, volume, quote, taker, taken) in enumerate(rows):
        opened = number * 60_000 + 1_700_000_000_000
        lines.append(f"{opened},{first},{high},{low},{last},{volume},{opened + 59_999},{quote},7,{taker},{taken},0\n")
        answer.append([opened, first, high, low, last, volume, opened + 59_999, quote, 7, taker, taken, "0"])
    frame = klines.parse("".join(lines).encode(), "x.csv")
    served, bad = decode_rows(json.dumps(answer).encode())
    assert bad == 0
    for stored, row, written in zip(frame.rows(named=True), served, rows, strict=True):
        values = [float(one) for one in written[:7]]
        assert all(map(math.isfinite, values))
        names = ("open", "high", "low", "close", "volume", "quote_volume")
        assert [stored[name] for name in names] == [getattr(row, name) for name in names] == values[:6]
        assert (stored["taker_buy_base"], stored["trades"]) == (row.taker_buy, row.trades) == (values[6], 7)
        assert msgspec.structs.asdict(row)["open_ms"] == stored["open_time"]
