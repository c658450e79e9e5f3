"""The options of `backtest` that say what its account is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.study.settings import Account


def account_of(
    *,
    account: Annotated[
        Literal["spot", "perpetual"], typer.Option(help="Spot sells nothing short and borrows nothing.")
    ] = "spot",
    cash: Annotated[float, typer.Option(min=1e-6, max=1e15, help="At the start, in quote units.")] = 10_000.0,
    risk: Annotated[str, typer.Option(help="Share of equity the way from fill to stop may cost.")] = "1%",
    size: Annotated[
        float | None, typer.Option(min=1e-6, max=1e15, help="Quote units in each position, instead of --risk.")
    ] = None,
    cap_symbol: Annotated[str, typer.Option(help="Most in one symbol, of equity times leverage.")] = "25%",
    cap_side: Annotated[str, typer.Option(help="Most long, and most short.")] = "100%",
    cap_total: Annotated[str, typer.Option(help="Most in all positions.")] = "100%",
    leverage: Annotated[float, typer.Option(min=1.0, max=125.0, help="Of a perpetual account.")] = 1.0,
    taker_bps: Annotated[float, typer.Option(min=0.0, max=1_000.0, help="Fee of entries and stops.")] = 10.0,
    maker_bps: Annotated[float, typer.Option(min=0.0, max=1_000.0, help="Fee of targets.")] = 10.0,
    slippage_bps: Annotated[float, typer.Option(min=0.0, max=1_000.0, help="Of every fill but a target's.")] = 2.0,
    impact_bps: Annotated[
        float, typer.Option(min=0.0, max=10_000.0, help="Of an order as large as its candle's turnover, besides.")
    ] = 0.0,
    levels: Annotated[
        Literal["signal", "fill"], typer.Option(help="What stop and targets are measured from.")
    ] = "signal",
    on_opposite: Annotated[
        Literal["ignore", "close", "reverse"], typer.Option(help="What an opposite signal does to a position.")
    ] = "ignore",
) -> Account:
    """What these options mean. Raises SetupError."""
    from tapewatch.cli import amounts
    from tapewatch.study.settings import Account

    if account == "spot" and leverage != 1.0:
        raise SetupError("--leverage: a spot account borrows nothing; --account perpetual does")
    return Account(
        kind=account,
        cash=cash,
        risk=amounts.share(risk, "--risk", 1.0),
        size_quote=size,
        cap_symbol=amounts.share(cap_symbol, "--cap-symbol", 1.0),
        cap_side=amounts.share(cap_side, "--cap-side", 1.0),
        cap_total=amounts.share(cap_total, "--cap-total", 1.0),
        leverage=leverage,
        taker_bps=taker_bps,
        maker_bps=maker_bps,
        slippage_bps=slippage_bps,
        impact_bps=impact_bps,
        levels=levels,
        on_opposite=on_opposite,
    )


def protections_of(
    *,
    daily_loss: Annotated[str | None, typer.Option(help="Lost in a UTC day, pauses entries until the next.")] = None,
    max_drawdown: Annotated[
        str | None, typer.Option(help="Lost from the peak, pauses entries for its time (7d): 15% or 15%:7d.")
    ] = None,
    losses: Annotated[
        str | None, typer.Option(help="So many in a row pause entries for their time (12h): 5 or 5:12h.")
    ] = None,
    after_stop: Annotated[
        str | None, typer.Option(help="For which a symbol that was stopped is not entered, as 30m.")
    ] = None,
) -> dict[str, Any]:
    """What of an account these options change. Raises SetupError."""
    from tapewatch.cli import amounts
    from tapewatch.study.settings import Account

    found: dict[str, Any] = {}
    if daily_loss is not None:
        found["daily_loss"] = amounts.share(daily_loss, "--daily-loss", 1.0)
    if max_drawdown is not None:
        drawdown = amounts.share_and_pause(max_drawdown, "--max-drawdown", Account.drawdown_pause_ms)
        found["max_drawdown"], found["drawdown_pause_ms"] = drawdown
    if losses is not None:
        found["losses"], found["losses_pause_ms"] = amounts.count_and_pause(losses, "--losses", Account.losses_pause_ms)
    if after_stop is not None:
        found["after_stop_ms"] = amounts.duration_ms(after_stop, "--after-stop")
    return found
