"""Candidates as tables for other programs: columns that say what they are, in memory and in files.

A file has beside it, and a Parquet file also in its own metadata under the key `tapewatch`, a JSON Schema of its rows,
in which every column has its type, its unit and its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl

from tapewatch import __version__
from tapewatch.model import Signal
from tapewatch.study.document import check_file, write_whole

Type = Literal["string", "integer", "number", "boolean"]

#: What a file's name may end in.
FORMS = (".parquet", ".csv")
_TYPES = {"string": pl.String, "integer": pl.Int64, "number": pl.Float64, "boolean": pl.Boolean}


class Column(NamedTuple):
    """One column: its values' JSON type, what they are measured in, what they say, and if all rows have one."""

    name: str
    type: Type
    unit: str
    meaning: str
    known: bool = False


#: What the rows of all tables begin with.
KEYS = (
    Column(
        "signal_id", "string", "", "the candidate, the same in every table, in the ledger and in alerts", known=True
    ),
    Column("venue", "string", "", "where", known=True),
    Column("symbol", "string", "", "of what", known=True),
    Column("strategy", "string", "", "whose rule fired", known=True),
    Column("interval", "string", "", "the timeframe on which it fired", known=True),
    Column("direction", "string", "", "long or short", known=True),
    Column("close_ms", "integer", "ms since 1970 UTC", "close of its bar: from then on the row is known", known=True),
    Column("settled", "boolean", "", "whether every indicator was past its settling length", known=True),
    Column("passed", "boolean", "", "whether the gate let it pass", known=True),
)


def keys_of(signal: Signal) -> list[Any]:
    """The cells of `KEYS`."""
    passed = all(verdict.passed for verdict in signal.verdicts)
    about = signal.id, signal.venue, signal.symbol, signal.strategy, signal.timeframe, signal.side, signal.close_ms
    return [*about, signal.settled, passed]


@dataclass(frozen=True)
class Dataset:
    """A table.

    Attributes:
        name: what its rows are.
        version: raised with every change after which a column means something else.
        columns: those of the frame, in its order.
        frame: the rows; what is not known is null.
        about: what they were made of, as JSON's plain values.
    """

    name: str
    version: int
    columns: Sequence[Column]
    frame: pl.DataFrame
    about: Mapping[str, Any]

    @classmethod
    def of(
        cls, name: str, version: int, columns: Sequence[Column], rows: Iterable[Sequence[Any]], about: Mapping[str, Any]
    ) -> Dataset:
        """From rows of cells in the columns' order."""
        cells = list(zip(*rows, strict=True)) or [()] * len(columns)
        made = (
            pl.Series(column.name, of_one, _TYPES[column.type]) for column, of_one in zip(columns, cells, strict=True)
        )
        return cls(name, version, columns, pl.DataFrame(made).with_columns(pl.col(pl.Float64).fill_nan(None)), about)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a row, with units; `version` and `about` are the table's."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"tapewatch {self.name}",
            "version": self.version,
            "about": {"program": __version__, "rows": len(self.frame), **self.about},
            "type": "object",
            "properties": {column.name: _property(column) for column in self.columns},
            "required": [column.name for column in self.columns],
            "additionalProperties": False,
        }

    def write(self, option: str, path: Path) -> Path:
        """Write a file in the form that its name asks for and its schema beside it; returns where that is.

        Raises:
            TapewatchError: it cannot be written; a file that was there before is whole.
        """
        schema = json.dumps(self.schema, indent=2, ensure_ascii=False) + "\n"
        beside = schema_path(path)
        whole = BytesIO()
        if path.suffix == ".csv":
            self.frame.write_csv(whole)
        else:
            self.frame.write_parquet(whole, metadata={"tapewatch": json.dumps(self.schema, ensure_ascii=False)})
        write_whole(option, beside, schema.encode())
        write_whole(option, path, whole.getvalue())
        return beside


def schema_path(path: Path) -> Path:
    """Where the schema of a file is."""
    return path.with_suffix(".schema.json")


def check_out(option: str, path: Path) -> None:
    """Before any work: whether a table can be written there. Raises SetupError."""
    check_file(option, path, FORMS)
    check_file(option, schema_path(path), (".json",))


def _property(column: Column) -> dict[str, Any]:
    unit = {"unit": column.unit} if column.unit else {}
    return {"type": column.type if column.known else [column.type, "null"], **unit, "description": column.meaning}
