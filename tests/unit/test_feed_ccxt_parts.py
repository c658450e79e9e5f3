"""CCXT's parts that need no exchange: what is final, what its candles and exceptions mean, how one is opened."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import ccxt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.errors import DataError, EdgeError, SetupError
from tapewatch.feeds.ccxt_answers import bars_of
from tapewatch.feeds.ccxt_errors import BANNED_S, LIMITED_S, meaning
from tapewatch.feeds.ccxt_exchange import CcxtSettings, check_intervals, open_exchange
from tapewatch.feeds.ccxt_final import UNLIKE, Finality, figures
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import DAY_MS, MINUTE_MS, Bar, fault_of


def bar_at(minute: int, volume: float = 5.0, close: float = 10.0) -> Bar:
    """A candle of this minute."""
    return Bar("BTC/USDT", MINUTE_MS, minute * MINUTE_MS, 10.0, 11.0, 9.0, close, volume)


@dataclass
class Seen:
    """A stream that showed these candles."""

    candles: dict[int, Bar] = field(default_factory=dict)

    def newest_ms(self, symbol: str) -> int:
        """The newest one's open."""
        return max(self.candles, default=0)

    def last_seen(self, symbol: str, open_ms: int) -> Bar | None:
        """How it was."""
        return self.candles.get(open_ms)

    def show(self, bar: Bar) -> None:
        """The stream shows this."""
        self.candles[bar.open_ms] = bar


def finality(seen: Seen | None) -> tuple[Finality, list[str]]:
    """A judge, and a list that grows when the witness is dismissed."""
    said: list[str] = []
    return Finality(seen, lambda: said.append("unlike")), said


def test_without_a_stream_what_has_settled_is_final() -> None:
    """And nothing else."""
    judge, _ = finality(None)
    bar = bar_at(3)
    assert not judge.is_final(bar, bar.open_ms)
    assert judge.is_final(bar, bar.close_ms)


def test_agreement_is_final_once_the_next_candle_has_begun() -> None:
    """Before that the candle may still be running."""
    seen = Seen()
    judge, _ = finality(seen)
    seen.show(bar_at(3))
    assert not judge.is_final(bar_at(3), 0)
    seen.show(bar_at(4))
    assert judge.is_final(bar_at(3), 0)
    assert not judge.is_final(bar_at(3, volume=4.0), 0)


def test_a_settled_candle_with_more_trades_than_the_stream_saw_is_final() -> None:
    """The stream missed its end."""
    seen = Seen()
    judge, _ = finality(seen)
    seen.show(bar_at(3, volume=4.0))
    assert not judge.is_final(bar_at(3), 0)
    assert judge.is_final(bar_at(3), bar_at(3).close_ms)


def test_a_settled_candle_with_less_than_the_stream_saw_must_be_said_twice() -> None:
    """The same twice; another answer in between begins anew; so does being forgotten."""
    seen = Seen()
    judge, said = finality(seen)
    seen.show(bar_at(3, volume=6.0))
    settled_ms = bar_at(3).close_ms
    assert not judge.is_final(bar_at(3, volume=4.0), settled_ms)
    assert not judge.is_final(bar_at(3, volume=5.0), settled_ms)
    assert not judge.is_final(bar_at(3, volume=4.0), settled_ms)
    assert judge.is_final(bar_at(3, volume=4.0), settled_ms)
    assert not judge.is_final(bar_at(3, volume=4.0), settled_ms)
    judge.forget("BTC/USDT")
    assert not judge.is_final(bar_at(3, volume=4.0), settled_ms)
    assert said == []


def test_a_stream_that_is_always_overruled_is_no_witness_any_more() -> None:
    """Then what has settled is final; one agreement on the way keeps it."""
    seen = Seen()
    judge, said = finality(seen)

    def overrule(minute: int) -> None:
        seen.show(bar_at(minute, volume=600.0))
        assert not judge.is_final(bar_at(minute), bar_at(minute).close_ms)
        assert judge.is_final(bar_at(minute), bar_at(minute).close_ms)

    for minute in range(1, UNLIKE):
        overrule(minute)
    seen.show(bar_at(50))
    assert judge.is_final(bar_at(50), bar_at(50).close_ms)
    for minute in range(51, 51 + UNLIKE):
        assert said == []
        overrule(minute)
    assert said == ["unlike"]
    seen.show(bar_at(90, volume=600.0))
    assert judge.is_final(bar_at(90), bar_at(90).close_ms)


@given(
    shown=st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1.0, 2.0, 3.0])), max_size=12),
    answers=st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1.0, 2.0, 3.0]), st.booleans()), max_size=12),
)
def test_nothing_unsettled_is_final_unless_the_stream_agrees(
    shown: list[tuple[int, float]], answers: list[tuple[int, float, bool]]
) -> None:
    """Whatever the stream showed, and in whatever order REST answers."""
    seen = Seen()
    judge, _ = finality(seen)
    for minute, volume in shown:
        seen.show(bar_at(minute, volume))
    for minute, volume, settled in answers:
        bar = bar_at(minute, volume)
        final = judge.is_final(bar, bar.close_ms if settled else 0)
        known = seen.last_seen(bar.symbol, bar.open_ms)
        agrees = known is not None and figures(known) == figures(bar)
        if final and not settled:
            assert agrees
            assert seen.newest_ms(bar.symbol) > bar.open_ms
        if settled and (known is None or agrees or known.volume < volume):
            assert final


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("1.5") | st.lists(st.none())
)


@given(st.lists(st.lists(values, max_size=8) | values, max_size=6))
def test_any_rows_are_read_or_counted(rows: list[Any]) -> None:
    """Whatever the library hands on, nothing is raised; what comes out is in order, each time once."""
    bars, bad = bars_of(rows, "X/Y", MINUTE_MS)
    opens = [bar.open_ms for bar in bars]
    assert opens == sorted(set(opens))
    assert len(bars) + bad <= len(rows)
    for bar in bars:
        assert all(math.isnan(value) for value in (bar.quote_volume, bar.trades, bar.taker_buy))
        fault_of(bar)


def test_rows_become_bars() -> None:
    """Oldest first, the last of the same time, numbers in text too."""
    rows = [[120_000, 1, 2, 0.5, 1.5, 7], [60_000, "1", "2", "0.5", "1.5", "6"], [120_000, 1, 2, 0.5, 1.5, 8]]
    bars, bad = bars_of([*rows, [180_000, 1, 2, 0.5, 1.5, None], [180_000], None], "X/Y", MINUTE_MS)
    assert [(bar.open_ms, *figures(bar)) for bar in bars] == [
        (60_000, 1.0, 2.0, 0.5, 1.5, 6.0),
        (120_000, 1.0, 2.0, 0.5, 1.5, 8.0),
    ]
    assert bad == 3


@pytest.mark.parametrize(
    ("error", "kind", "wait_s"),
    [
        (ccxt.NetworkError("reset"), EdgeError, None),
        (ccxt.RequestTimeout("slow"), EdgeError, None),
        (ccxt.ExchangeNotAvailable("x GET https://h 503 Unavailable"), EdgeError, None),
        (ccxt.OnMaintenance("later"), EdgeError, None),
        (ccxt.ExchangeError("what?"), EdgeError, None),
        (ccxt.BadResponse("<html>"), EdgeError, None),
        (ccxt.RateLimitExceeded("slow down"), EdgeError, LIMITED_S),
        (ccxt.DDoSProtection("x 429 Too Many Requests"), EdgeError, LIMITED_S),
        (ccxt.DDoSProtection("x 418 I'm a teapot"), EdgeError, BANNED_S),
        (ccxt.BadSymbol("no such"), DataError, None),
        (ccxt.BadRequest("limit"), DataError, None),
        (ccxt.ArgumentsRequired("symbol"), DataError, None),
        (ccxt.AuthenticationError("apiKey"), DataError, None),
        (ccxt.PermissionDenied("no"), DataError, None),
        (ccxt.NotSupported("fetchX"), DataError, None),
        (ccxt.RestrictedLocation("not from here"), SetupError, None),
        (ccxt.ExchangeNotAvailable("x GET https://h 451  Unavailable"), SetupError, None),
        (KeyError("data"), EdgeError, None),
        (TypeError("NoneType"), EdgeError, None),
        (OSError("broken pipe"), EdgeError, None),
    ],
)
def test_what_an_exception_means(error: Exception, kind: type[Exception], wait_s: float | None) -> None:
    """Trouble is retried, a refusal is not, a region that is refused ends the run; limits are waited for."""
    found = meaning(error, SimpleNamespace(last_response_headers=None))
    assert type(found) is kind
    assert getattr(found, "retry_after_s", None) == wait_s


def test_a_request_that_was_not_answered_says_why() -> None:
    """The library names the request only; what its cause says comes behind it, or its name where it says nothing."""
    for cause, said in ((OSError("name not known"), "name not known"), (TimeoutError(), "TimeoutError")):
        error = ccxt.ExchangeNotAvailable("x GET https://h/time")
        error.__cause__ = cause
        assert str(meaning(error, SimpleNamespace())) == f"x GET https://h/time: {said}"


def test_the_exchange_says_how_long_to_wait() -> None:
    """Its header wins over our guess, in any case, if it is a number; long texts are cut."""
    error = ccxt.RateLimitExceeded("slow\n" * 500)
    told = meaning(error, SimpleNamespace(last_response_headers={"retry-after": "7"}))
    assert isinstance(told, EdgeError)
    assert told.retry_after_s == 7.0
    assert len(str(told)) <= 300
    assert "\n" not in str(told)
    other = meaning(error, SimpleNamespace(last_response_headers={"Retry-After": "Wed, 21 Oct"}))
    assert isinstance(other, EdgeError)
    assert other.retry_after_s == LIMITED_S


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("krakn", "knows no exchange 'krakn'; did you mean 'kraken'"),
        ("", "knows no exchange ''"),
        ("mercado", "mercado has no candles of 1m"),
        ("zaif", "zaif gives no candles"),
    ],
)
def test_an_exchange_that_cannot_be_used_is_named(name: str, says: str) -> None:
    """With what is lacking, and what may have been meant."""
    with pytest.raises(SetupError, match=r"^exchange\.ccxt: ") as caught:
        open_exchange(CcxtSettings(name), FeedSettings())
    assert says in str(caught.value)


def test_every_exchange_of_the_library_opens_or_says_why() -> None:
    """None raises anything else, and those that open have 1m candles, a rate limit and no key."""
    opened = 0
    for name in ccxt.exchanges:
        try:
            exchange = open_exchange(CcxtSettings(name), FeedSettings(request_timeout_s=7.0))
        except SetupError:
            continue
        opened += 1
        assert "1m" in exchange.timeframes
        assert exchange.enableRateLimit
        assert exchange.timeout == 7_000
        assert not exchange.apiKey
        assert not exchange.secret
    assert opened > 70


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("bybit", {}, "spot"),
        ("bybit", {"defaultType": "swap"}, "swap"),
        ("kraken", {}, "spot"),
        ("binanceusdm", {}, "swap"),
    ],
)
def test_spot_is_the_default_where_there_is_one(name: str, options: dict[str, str], kind: str) -> None:
    """Whatever the library's own default is, unless the user says another."""
    assert open_exchange(CcxtSettings(name, options=options), FeedSettings()).options["defaultType"] == kind


def test_intervals_that_lack_are_named_with_those_there() -> None:
    """Of a strategy's, before anything is asked."""
    exchange = open_exchange(CcxtSettings("kraken"), FeedSettings())
    check_intervals(exchange, [MINUTE_MS, DAY_MS])
    with pytest.raises(SetupError, match=r"kraken has no candles of 3m, 2h, which are needed; it has 1m, 5m"):
        check_intervals(exchange, [3 * MINUTE_MS, 120 * MINUTE_MS])


def test_options_and_addresses_reach_the_library() -> None:
    """Options are laid over its own, addresses too; an unencrypted one to elsewhere is refused."""
    urls = {"api": {"public": "http://127.0.0.1:9/api/v3"}}
    exchange = open_exchange(CcxtSettings("binance", options={"defaultType": "swap"}, urls=urls), FeedSettings())
    assert exchange.options["defaultType"] == "swap"
    assert exchange.options["fetchMarkets"]
    assert exchange.urls["api"]["public"] == "http://127.0.0.1:9/api/v3"
    assert exchange.urls["api"]["sapi"].startswith("https://")
    with pytest.raises(SetupError, match="unencrypted"):
        open_exchange(CcxtSettings("binance", urls={"api": {"public": "http://example.com"}}), FeedSettings())


@pytest.mark.parametrize(
    ("proxy", "names"),
    [
        ("http://proxy.example:8", {"httpsProxy": "http://proxy.example:8", "wssProxy": "http://proxy.example:8"}),
        (None, {}),
    ],
)
def test_proxies_of_the_environment_are_used(
    monkeypatch: pytest.MonkeyPatch, proxy: str | None, names: dict[str, str]
) -> None:
    """REST's and the stream's; none on this machine."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    if proxy is not None:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    exchange = open_exchange(CcxtSettings("kraken"), FeedSettings())
    kinds = ("httpProxy", "httpsProxy", "socksProxy", "wsProxy", "wssProxy", "wsSocksProxy")
    assert {kind: getattr(exchange, kind) for kind in kinds if getattr(exchange, kind)} == names


PROBE = """
import sys
sys.modules["ccxt"] = None
from tapewatch.errors import SetupError
from tapewatch.feeds.ccxt import CcxtFeed
from tapewatch.feeds.ccxt_exchange import CcxtSettings
from tapewatch.feeds import FeedObserver, FeedSettings
try:
    CcxtFeed(CcxtSettings("kraken"), FeedSettings(), print, FeedObserver())
except SetupError as error:
    print(error)
"""


def test_a_missing_library_is_said_with_the_command_that_installs_it() -> None:
    """Our own modules load without it."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'tapewatch[ccxt]'" in done.stdout
