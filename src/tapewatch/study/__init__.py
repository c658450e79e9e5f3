"""Research: the same strategies over stored candles."""
