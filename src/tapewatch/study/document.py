"""A backtest as what machines read, and its trades as a file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tapewatch import __version__
from tapewatch.archive.candles import VALUES, Candles
from tapewatch.errors import SetupError, TapewatchError
from tapewatch.study.backtest import Backtest, Plan, Result
from tapewatch.study.ground import Ground
from tapewatch.study.membership import ALL
from tapewatch.study.metrics import metrics
from tapewatch.study.trades import Trade

#: Of what a trade is, the columns of `--trades`, in order.
COLUMNS = (
    "trade_id", "signal_id", "symbol", "side", "timeframe", "entry_ms", "entry_price", "exits", "quantity", "fees",
    "funding", "gross", "net", "r", "mfe_r", "mae_r", "ambiguous",
)  # fmt: skip


#: Of ambiguous bars: whose they are taken for.
READINGS = ("pessimistic", "optimistic")


def document(backtest: Backtest, progress: Callable[[], None] = lambda: None) -> tuple[dict[str, Any], Result]:
    """Everything `backtest --json` prints, and the result it is of; `progress` is called after each reading.

    The result reads ambiguous bars as the stop's; `bounds` has what either reading comes to.
    """
    plan, result = backtest.plan, backtest.run()
    found = metrics(result)
    progress()
    other = metrics(backtest.run(optimistic=True)) if found["ambiguous"] else found
    progress()
    bounds = {
        name: {key: of[key] for key in ("trades", "net", "net_pct", "win_rate_pct", "expectancy_r")}
        for name, of in zip(READINGS, (found, other), strict=True)
    }
    return {
        "strategy": plan.strategy.name,
        "params": dict(plan.strategy.params),
        "account": msgspec.to_builtins(plan.account),
        "hashes": {"data": data_hash(backtest.ground), "config": config_hash(plan), "version": __version__},
        "universe": universe_of(backtest),
        "model": None if plan.request.scoring is None else {"at_least": plan.request.scoring.at_least},
        "bars": result.bars,
        "trades": len(result.trades),
        "metrics": found,
        "bounds": bounds,
        "pauses": msgspec.to_builtins(result.pauses),
        "buy_and_hold": buy_and_hold(backtest.candles, plan.account.taker_bps + plan.account.slippage_bps),
    }, result


def buy_and_hold(candles: Sequence[Candles], cost_bps: float) -> dict[str, Any]:
    """What the same money had brought in equal parts, bought at the first open and sold at the last close."""
    kept = (1 - cost_bps / 1e4) / (1 + cost_bps / 1e4)
    growth = [float(one.close[-1] / one.open[0]) * kept for one in candles]
    return {
        "net_pct": (sum(growth) / len(growth) - 1) * 100,
        "by_symbol_pct": {one.symbol: (grown - 1) * 100 for one, grown in zip(candles, growth, strict=True)},
    }


def universe_of(backtest: Backtest) -> dict[str, Any]:
    """Which symbols there were and when, and the rules by which they were watched day by day."""
    rules = backtest.plan.universe
    return {
        "min_volume_24h": (rules.min_volume_24h or None) if rules is not None else None,
        "max_symbols": rules.max_symbols if rules is not None and rules.max_symbols != ALL else None,
        "symbols": {
            one.symbol: {
                "first_ms": int(one.open_ms[0]),
                "end_ms": int(one.open_ms[-1]) + one.interval_ms,
                "gone": gone,
                "funding_payments": len(payments),
            }
            for one, gone, (payments, _) in zip(
                backtest.candles, backtest.ground.gone, backtest.ground.payments, strict=True
            )
        },
    }


def data_hash(ground: Ground) -> str:
    """Of every value of every candle of the period, and of every funding payment."""
    digest = hashlib.blake2b(digest_size=16)
    for one, payments in zip(ground.candles, ground.payments, strict=True):
        digest.update(f"{one.venue}/{one.symbol}/{one.interval_ms}/{len(one)};".encode())
        for name in ("open_ms", *VALUES):
            digest.update(getattr(one, name).data)
        for column in payments:
            digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def config_hash(plan: Plan) -> str:
    """Of everything that was asked for, but not of where the candles lie."""
    instruments = {symbol: repr(plan.instruments.get(symbol)) for symbol in plan.request.symbols}
    request = (plan.request.venue, *plan.request.symbols, *plan.request.intervals)
    times = (plan.request.from_ms, plan.request.to_ms, sorted(plan.request.starts.items()))
    text = repr((plan.strategy, plan.account, plan.gate, request, times, instruments, plan.universe))
    if plan.request.scoring is not None:
        text += repr(plan.request.scoring.written())
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def check_files(trades: Path | None, report: Path | None) -> None:
    """Before any work: whether what is asked for can be written there.

    Raises:
        SetupError: a name asks for no form that there is, or the file cannot be written.
    """
    for option, path, forms in (("--trades", trades, tuple(_FORMS)), ("--report", report, (".html",))):
        if path is not None:
            check_file(option, path, forms)


def check_file(option: str, path: Path, forms: Sequence[str]) -> None:
    """Before any work: whether a file with one of these endings can be written there.

    Raises:
        SetupError: it ends in another, or cannot be written.
    """
    if path.suffix not in forms:
        raise SetupError(f"{option}: {path.name} must end in {', '.join(forms)}")
    if path.is_dir():
        raise SetupError(f"{option}: {path} is a folder")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SetupError(f"{option}: {path}: {error.strerror or error}") from None


def write_trades(path: Path, trades: Sequence[Trade]) -> None:
    """Write every closed trade, in the form that the file's name asks for; CSV has the exits as JSON in a column.

    Raises:
        TapewatchError: the file cannot be written.
    """
    write_whole("--trades", path, _FORMS[path.suffix](_rows(trades)))


def trades_frame(trades: Sequence[Trade]) -> pl.DataFrame:
    """A row per closed trade, with the columns of `--trades`."""
    return _frame(_rows(trades))


def _rows(trades: Sequence[Trade]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in COLUMNS} for row in msgspec.to_builtins(list(trades))]


def write_whole(option: str, path: Path, data: bytes) -> None:
    """Write a file; one that was there is replaced by the whole new one, or stays.

    Raises:
        TapewatchError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise TapewatchError(f"{option}: {path}: {error.strerror or error}") from None


_EXIT = pl.Struct({"ms": pl.Int64, "price": pl.Float64, "share": pl.Float64, "reason": pl.String})
_SCHEMA: dict[str, Any] = {
    "entry_ms": pl.Int64, "exits": pl.List(_EXIT), "ambiguous": pl.Boolean,
    **dict.fromkeys(("trade_id", "signal_id", "symbol", "side", "timeframe"), pl.String),
}  # fmt: skip


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={name: _SCHEMA.get(name, pl.Float64) for name in COLUMNS})


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    exits = pl.Series("exits", [msgspec.json.encode(row["exits"]).decode() for row in rows], pl.String)
    return _frame(rows).with_columns(exits).write_csv().encode()


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    whole = BytesIO()
    _frame(rows).write_parquet(whole)
    return whole.getvalue()


_FORMS: dict[str, Callable[[Sequence[Mapping[str, Any]]], bytes]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".jsonl": _lines,
}
