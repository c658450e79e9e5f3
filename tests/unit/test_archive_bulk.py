"""The exchange's files: where they are, what their checksums say, and that no zip file can do harm."""

import io
import zipfile

import polars as pl
import pytest

from tapewatch.archive import bulk, frames, klines
from tapewatch.archive.intervals import INTERVALS, interval_of
from tapewatch.errors import DataError

#: 2024-12-31 23:00 UTC.
LATE_MS = 1_735_686_000_000
ROW = "1735689602000000,0.31601,0.31602,0.31600,0.31601,2.5,1735689602999999,0.79,3,1.25,0.395,0"


def packed(**members: str | bytes) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def test_a_month_is_where_the_exchange_has_it() -> None:
    """Months are `1mo` there, symbols upper case and percent-encoded, December has an end."""
    file = bulk.month_file("binance_spot", "BTCUSDT", interval_of("1M"), LATE_MS)
    assert file.path == "/data/spot/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-12.zip"
    assert (file.from_ms, file.to_ms) == (1_733_011_200_000, 1_735_689_600_000)
    day = bulk.day_file("binance_usdm", "币USDT", INTERVALS["1m"], LATE_MS)
    assert day.path == "/data/futures/um/daily/klines/%E5%B8%81USDT/1m/%E5%B8%81USDT-1m-2024-12-31.zip"
    assert (day.from_ms, day.to_ms) == (LATE_MS - 23 * 3_600_000, LATE_MS + 3_600_000)
    paid = bulk.funding_file("binance_usdm", "BTCUSDT", LATE_MS)
    assert paid.path == "/data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-12.zip"


def test_a_checksum_is_that_of_its_file() -> None:
    """As `sha256sum` writes it; anything else is refused."""
    digits = "AB" * 32
    assert bulk.parse_checksum(f"{digits}  a.zip\n", "a.zip") == "ab" * 32
    for text in ("", digits, f"{digits}  b.zip", f"{digits[:-1]}  a.zip", f"<xml>{digits}  a.zip", "x" * 10_000):
        with pytest.raises(DataError, match="is no checksum"):
            bulk.parse_checksum(text, "a.zip")


def test_the_one_file_comes_out() -> None:
    """In memory."""
    assert bulk.unpack(packed(**{"a.csv": "1,2\n"}), "a.zip", 100) == b"1,2\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no sound zip"),
        (b"PK\x03\x04 no zip", "no sound zip"),
        (packed(**{"a.csv": "x" * 100})[:-30], "no sound zip"),
        (packed(), "holds 0 files"),
        (packed(**{"a.csv": "1", "b.csv": "2"}), "holds 2 files"),
        (packed(**{"../../etc/cron.d/a.csv": "1"}), "instead of a CSV file"),
        (packed(**{"/etc/a.csv": "1"}), "instead of a CSV file"),
        (packed(**{"..\\a.csv": "1"}), "instead of a CSV file"),
        (packed(**{"a.exe": "1"}), "instead of a CSV file"),
        (packed(**{"a.csv": b"\0" * 50_000_000}), "would unpack to 50,000,000 bytes, more than 1,000"),
    ],
)
def test_a_zip_file_that_is_none_or_another_is_refused(content: bytes, said: str) -> None:
    """Damaged ones, several files, names that lead elsewhere, bombs."""
    with pytest.raises(DataError, match=said):
        bulk.unpack(content, "a.zip", 1_000)


def test_a_bomb_that_lies_about_its_size_is_refused() -> None:
    """No more is unpacked than allowed, whatever the directory says."""
    content = bytearray(packed(**{"a.csv": b"\0" * 1_000_000}))
    size = (1_000_000).to_bytes(4, "little")
    assert content.count(size) == 2
    for _ in range(2):
        at = content.index(size)
        content[at : at + 4] = (500).to_bytes(4, "little")
    with pytest.raises(DataError):
        bulk.unpack(bytes(content), "a.zip", 1_000)


def test_an_encrypted_zip_file_is_refused() -> None:
    """The flag says so."""
    content = bytearray(packed(**{"a.csv": "1,2"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    with pytest.raises(DataError, match="no sound zip"):
        bulk.unpack(bytes(content), "a.zip", 1_000)


@pytest.mark.parametrize(
    "head", ["", "open_time,open,high,low,close,volume,close_time,quote_volume,count,a,b,ignore\n"]
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_header_is_left_out_where_there_is_one(head: str, end: str) -> None:
    """Each row's unit is told by its size."""
    second = ROW.replace("1735689602000000", "1735689660000")
    frame = klines.parse((head + ROW + "\n" + second + end).encode(), "a.csv")
    assert frame["open_time"].to_list() == [1_735_689_602_000, 1_735_689_660_000]
    assert frame.rows()[0][1:] == (0.31601, 0.31602, 0.31600, 0.31601, 2.5, 0.79, 3, 1.25)


def test_rows_that_are_none_are_refused_not_guessed() -> None:
    """Words, half rows, times between milliseconds: counted, the others stay."""
    bad = [ROW.replace("0.31602", "high"), "1735689602000001" + ROW[16:], "17356896,1", "word" + ROW[4:], ""]
    good = ROW.replace("1735689602000000", "1735689600000000")
    frame = klines.parse("\n".join([good, *bad]).encode(), "a.csv")
    sound, refused = frames.sieve(frame, INTERVALS["1m"])
    assert sound["open_time"].to_list() == [1_735_689_600_000]
    assert refused.total() == 4


@pytest.mark.parametrize("content", [b"", b"\n", b"open_time,open\n"])
def test_a_file_without_rows_is_empty(content: bytes) -> None:
    """That is no mistake."""
    assert klines.parse(content, "a.csv").is_empty()


@pytest.mark.parametrize("content", [b"1,2,3\n4,5,6\n", b"\xff\xfe\x00garbage\n1\n"])
def test_a_file_of_something_else_is_refused(content: bytes) -> None:
    """With its name."""
    with pytest.raises(DataError, match=r"a\.csv has"):
        klines.parse(content, "a.csv")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_735_689_600, 1_735_689_600_000),
        (1_735_689_600_000, 1_735_689_600_000),
        (1_735_689_600_000_000, 1_735_689_600_000),
        (1_735_689_600_000_000_000, 1_735_689_600_000),
        (1_735_689_600_000_001, None),
        (1_735_689_600_000_000_001, None),
        (1_502_942_400, 1_502_942_400_000),
    ],
)
def test_a_unit_of_time_is_told_by_its_size(value: int, expected: int | None) -> None:
    """Seconds, milliseconds, microseconds, nanoseconds."""
    frame = pl.DataFrame({"t": [value]}).select(klines.milliseconds(pl.col("t")))
    assert frame.item() == expected
