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

    try:
        _check_arguments()
        from tapewatch.cli.app import app

        app(standalone_mode=True)
    except SetupError as error:
        _fail(str(error), 2)
    except TapewatchError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # Whoever read our output has gone; closing stdout again at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


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
