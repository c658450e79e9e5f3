"""The live shell: feed, engine, ledger and relay in one supervised process."""
