"""Entry of the command `tapewatch`: what the user did wrong is said in words, never as a traceback."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line and exit: 0 good, 1 failed, 2 misuse or bad configuration, 130 interrupted."""
    # Modules make many objects that stay; looking through them again and again is a tenth of a short command.
    gc.set_threshold(50_000, 20, 20)
    from tapewatch.errors import SetupError, TapewatchError

    _open_streams()
    try:
        try:
            _check_arguments()
            from tapewatch.cli.app import command_line

            command_line(sys.argv[1:])(standalone_mode=True)
        except SystemExit:
            sys.stdout.flush()  # what goes wrong with it when the interpreter ends cannot be said in words
            raise
    except SetupError as error:
        _fail(str(error), 2)
    except TapewatchError as error:
        _fail(str(error), 1)
    except BrokenPipeError:  # whoever read our output has gone
        _discard_output()
        sys.exit(1)
    except OSError as error:
        if _writable():
            raise
        _discard_output()
        _fail(f"the output cannot be written: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _open_streams() -> None:
    """Output that was closed before we began goes nowhere, and no file of ours gets its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - it stays open


def _writable() -> bool:
    """Whether stdout takes anything; if not, it is what an OSError was about."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _discard_output() -> None:
    """Closing stdout again at exit must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_arguments() -> None:
    from tapewatch.errors import SetupError

    for argument in sys.argv[1:]:
        if not argument.isprintable() and any("\ud800" <= char <= "\udfff" for char in argument):
            raise SetupError(f"{argument!a} is no text in {sys.getfilesystemencoding()}")


def _fail(text: str, code: int) -> None:
    sys.stderr.write("".join(f"tapewatch: {line}\n" for line in text.split("\n")))
    sys.exit(code)


if __name__ == "__main__":
    main()
