"""tapewatch watches a crypto exchange's tape and sends each alert once, with its evidence."""

__version__ = "0.1.0"
