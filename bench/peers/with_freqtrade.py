"""freqtrade: its backtesting over one pair of futures, with the stop and the target as callbacks of the strategy."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pandas as pd
from freqtrade.enums import RunMode
from freqtrade.exchange import Exchange
from freqtrade.optimize.backtesting import Backtesting
from freqtrade.persistence import Trade
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy import IStrategy, stoploss_from_absolute
from rule import FEE, STOP, TARGET, Candles, measure, signals

PAIR = "BTC/USDT:USDT"
MARKET = {
    "id": "BTCUSDT", "symbol": PAIR, "base": "BTC", "quote": "USDT", "settle": "USDT", "type": "swap", "spot": False,
    "margin": False, "swap": True, "future": False, "contract": True, "linear": True, "inverse": False, "active": True,
    "contractSize": 1.0, "taker": FEE, "maker": FEE, "precision": {"amount": 0.001, "price": 0.01}, "info": {},
    "limits": {"amount": {"min": 0.001, "max": None}, "cost": {"min": 5.0, "max": None},
        "price": {"min": None, "max": None}, "leverage": {"min": 1.0, "max": 100.0}},
}  # fmt: skip


def strategy_of(candles: Candles) -> type[IStrategy]:
    class Yardstick(IStrategy):
        INTERFACE_VERSION = 3
        timeframe = "1m"
        can_short = True
        stoploss = -0.99
        minimal_roi: ClassVar = {"0": 100.0}
        use_custom_stoploss = True
        use_custom_roi = True
        use_exit_signal = False
        process_only_new_candles = True
        startup_candle_count = 0

        def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
            self.long, self.short, self.atr = signals(candles)
            return dataframe

        def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
            dataframe["enter_long"], dataframe["enter_short"] = self.long.astype(int), self.short.astype(int)
            return dataframe

        def populate_exit_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
            return dataframe

        def away(self, trade: Trade) -> float:
            opened_ms = int(trade.open_date_utc.timestamp() * 1000)
            return float(self.atr[(opened_ms - int(candles.open_ms[0])) // 60_000 - 1])

        def custom_stoploss(self, pair, trade, current_time, current_rate, current_profit, after_fill, **kwargs):
            side = -1 if trade.is_short else 1
            stop = trade.open_rate - side * STOP * self.away(trade)
            return stoploss_from_absolute(stop, current_rate, is_short=trade.is_short, leverage=trade.leverage)

        def custom_roi(self, pair, trade, current_time, trade_duration, entry_tag, side, **kwargs):
            away = TARGET * self.away(trade) / trade.open_rate
            if trade.is_short:
                return 1 - (1 - away) * (1 + FEE) / (1 - FEE)
            return (1 + away) * (1 - FEE) / (1 + FEE) - 1

        def leverage(self, *args: object, **kwargs: object) -> float:
            return 1.0

    return Yardstick


def prepare(candles: Candles) -> Callable[[], int]:
    folder = Path(tempfile.mkdtemp())
    config = {
        "strategy": "Yardstick", "timeframe": "1m", "max_open_trades": 1, "stake_currency": "USDT",
        "stake_amount": 1_000.0, "dry_run_wallet": 10_000_000.0, "tradable_balance_ratio": 1.0,
        "trading_mode": "futures", "margin_mode": "isolated", "dry_run": True, "fee": FEE,
        "runmode": RunMode.BACKTEST, "export": "none",
        "exchange": {"name": "binance", "pair_whitelist": [PAIR], "pair_blacklist": []},
        "pairlists": [{"method": "StaticPairList"}], "datadir": folder, "user_data_dir": folder,
        "entry_pricing": {"price_side": "same"}, "exit_pricing": {"price_side": "same"}, "candle_type_def": "futures",
        "dataformat_ohlcv": "feather", "original_config": {},
    }  # fmt: skip
    dates = pd.to_datetime(candles.open_ms, unit="ms", utc=True)
    columns = ("open", "high", "low", "close", "volume")
    frame = pd.DataFrame({"date": dates, **{name: getattr(candles, name) for name in columns}})
    exchange = Exchange(config, validate=False, load_leverage_tiers=False)
    exchange._markets = {PAIR: MARKET}
    exchange._api.markets = {PAIR: MARKET}
    exchange.reload_markets = lambda *args, **kwargs: None
    exchange.get_max_leverage = lambda *args, **kwargs: 100.0
    exchange.get_maintenance_ratio_and_amt = lambda *args, **kwargs: (0.005, 0.0)
    exchange.fill_leverage_tiers = lambda *args, **kwargs: None
    made = strategy_of(candles)
    StrategyResolver._load_strategy = staticmethod(lambda name, config, extra_dir: made(config))

    def work() -> int:
        tested = Backtesting(dict(config), exchange)
        tested._set_strategy(tested.strategylist[0])
        tested._run_funding_fees = lambda *args, **kwargs: None  # the yardstick pays none
        processed = tested.strategy.advise_all_indicators({PAIR: frame.copy()})
        found = tested.backtest(
            processed=processed, start_date=dates[0].to_pydatetime(), end_date=dates[-1].to_pydatetime()
        )
        return int((found["results"]["exit_reason"] != "force_exit").sum())

    return work


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    measure("freqtrade", "stop and target are callbacks, asked at each bar of a position", prepare)
