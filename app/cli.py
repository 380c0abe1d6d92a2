"""The console script. It ends quietly at a signal, too, while Python imports what the command needs."""

import sys

from app.runtime.signals import end_at_signals


def main() -> None:
    """Run the `spillway` command."""
    end_at_signals(0 if sys.argv[1:2] in (["serve"], ["worker"]) else None)
    from app.commands import with_subcommands

    with_subcommands()(prog_name="spillway")


if __name__ == "__main__":
    main()
