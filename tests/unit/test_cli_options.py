"""What several commands take: times as they are written."""

from __future__ import annotations

import pytest

from tapewatch.cli import options
from tapewatch.errors import SetupError


def test_times_are_read_to_the_millisecond() -> None:
    """ISO with fractions and zones, dates, and ms, before 1970 too."""
    assert options.moment_ms("2025-05-20T14:07:00.123", "--from") == 1_747_750_020_123
    assert options.moment_ms("2025-05-20T16:07:00.123+02:00", "--from") == 1_747_750_020_123
    assert options.moment_ms("20250520", "--from") == 1_747_699_200_000
    assert options.moment_ms("1747750020123", "--from") == 1_747_750_020_123
    assert options.moment_ms("-1000000000", "--from") == -1_000_000_000
    assert options.moment_ms(None, "--from") is None
    with pytest.raises(SetupError, match="--to: '99999999999999999999' is neither"):
        options.moment_ms("99999999999999999999", "--to")
