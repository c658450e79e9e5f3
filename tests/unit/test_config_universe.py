"""The section `universe`: what may be written, what may not, and the rules that come of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch.config import Config, load
from tapewatch.errors import ConfigError
from tapewatch.live.universe import caps_of, rules_of
from tapewatch.universe import Rules


def loaded(folder: Path, universe: str, more: str = "", **env: str) -> Config:
    """A configuration with this section."""
    path = folder / "tapewatch.yaml"
    path.write_text(f"universe: {universe}\nstrategies: {{scalp: {{}}}}\n{more}", encoding="utf-8")
    return load([path], env)


def test_defaults_are_those_of_the_rules(tmp_path: Path) -> None:
    """The whole market priced in USDT."""
    assert rules_of(loaded(tmp_path, "{}").universe) == Rules()


def test_every_key_has_its_rule(tmp_path: Path) -> None:
    """All of them, in the units they are written in."""
    universe = loaded(
        tmp_path,
        "{include: [BTCUSDT, 'E*', 币安人生USDT], exclude: ['*DOWNUSDT'], quotes: [USDT, EUR], leveraged: true, "
        "stable: true, min_volume_24h: 1e6, min_volume_1h: 0, hysteresis: 35%, min_stay: 0s, max_symbols: 7, "
        "refresh: 30m, market_cap: {min_usd: 1000000, ids: {BTC: bitcoin}, pass_unknown: true}}",
    ).universe
    assert rules_of(universe) == Rules(
        include=("BTCUSDT", "E*", "币安人生USDT"), exclude=("*DOWNUSDT",), quotes=("USDT", "EUR"), leveraged=True,
        stable=True, min_volume_24h=1e6, min_volume_1h=0.0, min_market_cap=1e6, unknown_market_cap=True,
        hysteresis=0.35, min_stay_ms=0, max_symbols=7,
    )  # fmt: skip
    assert universe.refresh == 1_800_000


@pytest.mark.parametrize(
    ("universe", "says"),
    [
        ("{exclude: BTCUSDT}", "universe.exclude: must be a list"),
        ("{quotes: []}", "universe.quotes: must not be empty"),
        ("{quotes: [usdt]}", "universe.quotes.0: assets are upper case, not 'usdt'"),
        ("{include: ['btc*']}", "universe.include.0: symbols are upper case, not 'btc*'"),
        ("{exclude: [A*, A*]}", "universe.exclude.1: 'A*' is given twice"),
        ("{include: [AUSDT, '*'], exclude: [AUSDT]}", "universe.exclude.0: include names it too"),
        ("{include: [A, B, C], max_symbols: 2}", "universe.max_symbols: include names 3 symbols, more than 2"),
        ("{max_symbols: 0}", "universe.max_symbols: must be greater than or equal to 1"),
        ("{max_symbols: 1.5}", "universe.max_symbols: must be a whole number"),
        ("{min_volume_24h: -1}", "universe.min_volume_24h: must be greater than or equal to 0"),
        ("{min_volume_1h: true}", "universe.min_volume_1h: must be a number"),
        ("{min_volume_1h: much}", "universe.min_volume_1h: must be a number, not 'much'"),
        ("{min_volume_1h: .inf}", "universe.min_volume_1h: "),
        ("{hysteresis: 0.2}", "universe.hysteresis: must be a percentage"),
        ("{hysteresis: 95%}", "universe.hysteresis: must be less than or equal to 0.9"),
        ("{min_stay: 5}", "universe.min_stay: must be a duration"),
        ("{refresh: 5s}", "universe.refresh: must be greater than or equal to 60000"),
        ("{leveraged: 1.5}", "universe.leveraged: must be true or false"),
        ("{includes: [A]}", "universe.includes: unknown key, did you mean 'include'?"),
        ("{market_cap: {min_usd: 1e6}}", "universe.market_cap.min_usd: needs ids or top"),
        ("{market_cap: {min_usd: 0, top: 5}}", "universe.market_cap.min_usd: must be greater than 0"),
        ("{market_cap: {top: 5001}}", "universe.market_cap.top: must be less than or equal to 5000"),
        ("{market_cap: {ids: [bitcoin]}}", "universe.market_cap.ids: must be a mapping"),
        ("{market_cap: {url: 'http://api.example.com'}}", "universe.market_cap.url: must begin with https://"),
        ("{market_cap: {refresh: 1m}}", "universe.market_cap.refresh: must be greater than or equal to 600000"),
        ("{market_cap: {idz: {}}}", "universe.market_cap.idz: unknown key, did you mean 'ids'?"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, universe: str, says: str) -> None:
    """With file, line and key."""
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, universe)
    assert any(f"tapewatch.yaml:1: {says}" in problem for problem in error.value.problems), error.value.problems


def test_remarks_on_patterns(tmp_path: Path) -> None:
    """A pattern for another quote asset, a route whose symbols nobody can be; not what may be right."""
    routes = (
        "channels: {out: {type: console}}\nalerts: {routes: [{channels: [out], symbols: ['X*', XRPUSDT, BTCUSDT]}]}\n"
    )
    config = loaded(tmp_path, "{include: [BTCUSDT, 'E*', '*USDC', 'B[AB]', 'D*DT']}", routes)
    told = [warning.partition(": ")[2] for warning in config.warnings]
    assert told == [
        "alerts.routes.0.symbols.1: 'XRPUSDT' matches nothing that is watched",
        "universe.include.2: '*USDC' matches nothing, since universe.quotes has only USDT",
    ]
    assert loaded(tmp_path, "{}", routes).warnings == ()
    assert loaded(tmp_path, "{include: ['*USDC'], quotes: [EUR, USDC]}", routes).warnings == (
        f"{tmp_path}/tapewatch.yaml:4: alerts.routes.0.symbols.1: 'XRPUSDT' matches nothing that is watched",
        f"{tmp_path}/tapewatch.yaml:4: alerts.routes.0.symbols.2: 'BTCUSDT' matches nothing that is watched",
    )


CAPS = "{market_cap: {min_usd: 1000000, top: 250, api_key: '${KEY}'}}"


def test_the_key_is_a_secret(tmp_path: Path) -> None:
    """From a variable or a file, never from the text; it is masked wherever secrets are."""
    config = loaded(tmp_path, CAPS, KEY="CG-hush")
    assert config.universe.market_cap.api_key is not None
    assert config.secret_values() == ("CG-hush",)
    assert "hush" not in repr(config)
    secret = tmp_path / "key"
    secret.write_text("CG-file\n")
    secret.chmod(0o600)
    by_file = loaded(tmp_path, CAPS.replace("api_key: '${KEY}'", "api_key_file: key"))
    assert by_file.secret_values() == ("CG-file",)
    with pytest.raises(ConfigError, match="a secret does not belong in a configuration file") as error:
        loaded(tmp_path, CAPS.replace("${KEY}", "CG-hush"))
    assert "hush" not in str(error.value)
    with pytest.raises(ConfigError, match="neither KEY nor KEY_FILE is set"):
        loaded(tmp_path, CAPS)


def test_where_market_caps_are_kept(tmp_path: Path) -> None:
    """Beside the ledger unless said; nobody is asked without a minimum."""
    assert caps_of(loaded(tmp_path, "{}"), lambda: 0) is None
    caps = caps_of(loaded(tmp_path, CAPS, KEY="x"), lambda: 0)
    assert caps is not None
    assert caps._settings.file == tmp_path / "tapewatch.market-caps.json"
    named = caps_of(loaded(tmp_path, CAPS.replace("top: 250", "top: 250, file: caps.json"), KEY="x"), lambda: 0)
    assert named is not None
    assert named._settings.file == tmp_path / "caps.json"
    assert named._settings.url == "https://api.coingecko.com/api/v3"
