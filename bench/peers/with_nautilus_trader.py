"""nautilus_trader: an engine of events with an exchange; each signal sends a bracket of orders."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy
from rule import FEE, STOP, TARGET, Candles, measure, signals


def prepare(candles: Candles) -> Callable[[], int]:
    instrument = TestInstrumentProvider.btcusdt_perp_binance()
    fees = type(instrument).to_dict(instrument) | {"maker_fee": str(FEE), "taker_fee": str(FEE)}
    instrument = type(instrument).from_dict(fees)
    kind = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    frame = candles.frame("open", "high", "low", "close", "volume")
    bars = BarDataWrangler(kind, instrument).process(frame.tz_localize("UTC"), ts_init_delta=60_000_000_000)

    class Yardstick(Strategy):
        def on_start(self) -> None:
            self.long, self.short, self.atr = signals(candles)
            self.row = -1
            self.waits = False
            self.subscribe_bars(kind)

        def on_bar(self, bar: object) -> None:
            self.row += 1
            k = self.row
            if self.waits or not (self.long[k] or self.short[k]):
                return
            if not self.portfolio.is_flat(instrument.id):
                return
            side = OrderSide.BUY if self.long[k] else OrderSide.SELL
            sign, close, atr = (1 if self.long[k] else -1), float(bar.close), self.atr[k]
            orders = self.order_factory.bracket(
                instrument_id=instrument.id,
                order_side=side,
                quantity=Quantity.from_str("1.000"),
                sl_trigger_price=Price(close - sign * STOP * atr, instrument.price_precision),
                tp_price=Price(close + sign * TARGET * atr, instrument.price_precision),
            )
            self.submit_order_list(orders)

    def work() -> int:
        engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
        engine.add_venue(
            venue=Venue("BINANCE"),
            oms_type=OmsType.NETTING,
            account_type=AccountType.MARGIN,
            base_currency=None,
            starting_balances=[Money(10_000_000, USDT)],
            default_leverage=Decimal(10),
            bar_execution=True,
        )
        engine.add_instrument(instrument)
        engine.add_data(bars)
        engine.add_strategy(Yardstick())
        engine.run()
        closed = engine.cache.positions_closed() + list(engine.cache.position_snapshots())
        trades = len(closed)
        engine.dispose()
        return trades

    return work


if __name__ == "__main__":
    measure("nautilus_trader", "fills at the signal's close; walks open, high, low, close inside a bar", prepare)
