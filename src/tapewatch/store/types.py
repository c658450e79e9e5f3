"""Column types that mean the same in every database."""

from __future__ import annotations

from sqlalchemy import Dialect, types


class _ServerText(types.TypeDecorator[str]):
    impl = types.TEXT(collation="C")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return value if value is None or "\0" not in value else value.replace("\0", "\ufffd")


class _ServerDouble(types.TypeDecorator[float]):
    impl = types.Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:  # noqa: ARG002
        return value if value is None or value == value else None  # noqa: PLR0124  (NaN is not)


#: Sorted by code points, not by the language of the server's cluster; a NUL, which it cannot hold, is replaced.
Text: types.TypeEngine[str] = types.Text().with_variant(_ServerText(), "postgresql")
#: NaN is NULL, as SQLite has it by itself: what is not known takes no part in sums and in order.
Double: types.TypeEngine[float] = types.Double().with_variant(_ServerDouble(), "postgresql")
