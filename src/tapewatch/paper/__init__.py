"""Paper trading: the book's rules, the same for a live run and for a backtest."""
