"""`python -m bench [NAME …]`: the benches one after the other, each in its own process, as `make bench` does.

Options after `--` go to every one: `python -m bench refusals -- --rounds 3`.
"""

import subprocess
import sys

BENCHES = (
    "limiter",
    "refusals",
    "viewers",
    "visibility",
    "throughput",
    "imaging",
    "overload",
    "promises",
    "fairness",
)


def main() -> int:
    """Run what is named, or all; answers the exit status."""
    names, options = _split(sys.argv[1:])
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no such bench: {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or BENCHES:
        failed |= subprocess.run([sys.executable, "-m", f"bench.{name}", *options], check=False).returncode
    return min(failed, 1)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
