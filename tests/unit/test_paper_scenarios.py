"""Markets of a kind, each written by hand: what strategy, book and protections make of it, to the last cent.

Expected figures are worked out beside each test, in whole cents and thousandths of a coin.
"""

from __future__ import annotations

from pathlib import Path

from paper_markets import CALM, Tape, asked, entries, exits, run, write
from tapewatch.study.settings import Account

#: No costs, so that prices are those of the candles; 1,000 quote units in each position.
FREE = Account(kind="perpetual", taker_bps=0, maker_bps=0, slippage_bps=0, size_quote=1_000.0)


# --- pump ----------------------------------------------------------------------------------------------------------


def test_a_trailing_stop_keeps_what_a_pump_gave(tmp_path: Path) -> None:
    """From 100 to 130 and back: out 3 below the best price, in the bar after the one that made it."""
    tape = Tape().ask().calm(1).to(11_000).to(13_000).bar(12_900, 12_950, 12_500, 12_600).calm(5)
    follows = asked(targets=[{"at": "60", "share": "100%"}], trailing={"after": "5", "by": "3"})
    result = run(write(tmp_path, [tape]), follows, FREE)
    assert entries(result) == [(CALM + 1, 100.0, 10.0)]
    assert exits(result) == [(CALM + 4, 127.0, "trailing_stop")]
    (trade,) = result.trades
    assert (trade.gross, trade.r, trade.mfe_r) == (270.0, 13.5, 15.0)
