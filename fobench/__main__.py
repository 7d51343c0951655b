"""The command `fobench`, also `python -m fobench`."""

import sys

from fobench.cli import stop_signals


def main() -> None:
    """Runs the command line. A signal is heard from here on, also while its modules are loaded."""
    with stop_signals.raised():
        try:
            from fobench.cli.main import main as command
        except KeyboardInterrupt as error:
            sys.exit(stop_signals.end(error))
        command()


if __name__ == "__main__":
    main()
