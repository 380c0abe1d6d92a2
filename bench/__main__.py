"""Run the benches one after the other, each in a process of its own, as `make bench` does.

    python -m bench [NAME …] [-- OPTION …]

Without names all of them run. Options after `--` go to each bench: `python -m bench refusals -- --rounds 3`.
"""

import subprocess
import sys

BENCHES = (
    "limiter",
    "refusals",
    "tickets",
    "page",
    "viewers",
    "visibility",
    "throughput",
    "scaling",
    "overhead",
    "picture",
    "imaging",
    "shapes",
    "crops",
    "overload",
    "promises",
    "fairness",
    "growth",
)


def main() -> int:
    """Run the benches that are named, or all. Returns the exit status: 1 when one of them failed."""
    names, options = _split(sys.argv[1:])
    if "--help" in names or "-h" in names:
        print(f"{__doc__}\nBenches: {', '.join(BENCHES)}")
        return 0
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
