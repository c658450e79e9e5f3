"""All that a process makes of a configuration before it is in force: whatever cannot work shows here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from tapewatch import strategies
from tapewatch.channels import Channel, build
from tapewatch.channels.templates import Templates
from tapewatch.channels.writer import OnFallback, Writer
from tapewatch.config import Config
from tapewatch.live.makeup import Makeup, makeup_of
from tapewatch.live.roles import Role
from tapewatch.live.telling import writer_of
from tapewatch.strategy import Strategy


@dataclass(frozen=True)
class Prepared:
    """What there is besides the configuration itself.

    Attributes:
        config: it.
        mappings: the strategies, written out as a whole.
        strategies: they, compiled.
        makeup: of the engine.
        channels: every one.
        writer: who writes messages.
    """

    config: Config
    mappings: Mapping[str, Mapping[str, Any]]
    strategies: Sequence[Strategy]
    makeup: Makeup
    channels: Sequence[Channel]
    writer: Writer

    @property
    def templates(self) -> Templates:
        """The user's own."""
        return self.writer.templates


def prepared(config: Config, role: Role, on_fallback: OnFallback, console: TextIO | None = None) -> Prepared:
    """Made for a process of this role.

    Args:
        config: the process's own; see `roles.apart`.
        role: its role.
        on_fallback: see `Writer`.
        console: where a console channel prints; stdout unless given.

    Raises:
        SetupError: strategies, templates or channels cannot work.
    """
    mappings = strategies.mappings(config.strategies)
    return Prepared(
        config,
        mappings,
        strategies.from_mappings(mappings),
        makeup_of(config, mappings, role),
        [build(name, spec, console=console) for name, spec in config.channels.items()],
        writer_of(config, on_fallback),
    )
