"""Candles on disk: reading them, and building larger ones."""
