"""The values that move through tapewatch: bars, signals, alerts, and the engine's events and effects.

All are frozen. Times are int milliseconds UTC; a bar is identified by its open and known at its close.
"""

from __future__ import annotations

from tapewatch.model.bars import DAY_MS, INTERVAL_NAMES, INTERVALS_MS, MINUTE_MS, NAN, Bar, fault_of
from tapewatch.model.events import (
    Alert,
    BarClosed,
    BarDone,
    BarIgnored,
    Boundary,
    Context,
    Correction,
    FetchContext,
    Funding,
    Heard,
    History,
    Judged,
    LastPassed,
    Listing,
    Mute,
    Passed,
    Rest,
    Standing,
    StepFailed,
    Universe,
)
from tapewatch.model.outcomes import ControlDone, Outcome, Rate, Record, Result
from tapewatch.model.paper import (
    AccountState,
    BookFailed,
    BookSaved,
    DayDone,
    EntriesPaused,
    EntriesResumed,
    Fill,
    FundingPaid,
    Leg,
    Position,
    decimal_text,
)
from tapewatch.model.signals import (
    Confidence,
    Factor,
    Mover,
    Outlook,
    Side,
    Signal,
    State,
    Surroundings,
    Target,
    Trailing,
    Verdict,
    alert_id,
    signal_from,
    signal_id,
    trace_id,
)

Event = History | BarClosed | Boundary | Mute | Universe | Context | Correction | Funding | Passed | Heard
Effect = (
    Judged
    | Alert
    | LastPassed
    | BarDone
    | BarIgnored
    | StepFailed
    | FetchContext
    | Correction
    | Fill
    | FundingPaid
    | Position
    | AccountState
    | EntriesPaused
    | EntriesResumed
    | DayDone
    | Outcome
    | ControlDone
    | BookFailed
)

__all__ = [
    "DAY_MS",
    "INTERVALS_MS",
    "INTERVAL_NAMES",
    "MINUTE_MS",
    "NAN",
    "AccountState",
    "Alert",
    "Bar",
    "BarClosed",
    "BarDone",
    "BarIgnored",
    "BookFailed",
    "BookSaved",
    "Boundary",
    "Confidence",
    "Context",
    "ControlDone",
    "Correction",
    "DayDone",
    "Effect",
    "EntriesPaused",
    "EntriesResumed",
    "Event",
    "Factor",
    "FetchContext",
    "Fill",
    "Funding",
    "FundingPaid",
    "Heard",
    "History",
    "Judged",
    "LastPassed",
    "Leg",
    "Listing",
    "Mover",
    "Mute",
    "Outcome",
    "Outlook",
    "Passed",
    "Position",
    "Rate",
    "Record",
    "Rest",
    "Result",
    "Side",
    "Signal",
    "Standing",
    "State",
    "StepFailed",
    "Surroundings",
    "Target",
    "Trailing",
    "Universe",
    "Verdict",
    "alert_id",
    "decimal_text",
    "fault_of",
    "signal_from",
    "signal_id",
    "trace_id",
]
