"""Check the service against its own OpenAPI description with schemathesis: all checks, many examples.

This is the test tests/system/http/test_spec.py with more examples and another seed each time. The exit status
is 1 when an answer differs from its description or is an error that no description allows.
"""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.service import serving
from tests.system.http.test_spec import SETTINGS, explore

_LONGEST_S = 3600.0


def main() -> int:
    """Run as the arguments say. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("examples", nargs="?", type=int, default=200, help="for each operation (%(default)s)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same examples")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    options = ("--max-examples", str(given.examples), "--seed", str(seed), "--no-color")
    with (
        tempfile.TemporaryDirectory(prefix="spillway-description-") as folder,
        serving(Path(folder), **SETTINGS) as service,
    ):
        found = explore(service.url, *options, timeout=_LONGEST_S)
    print(found.stdout, found.stderr, f"seed {seed}", sep="\n")
    return found.returncode


if __name__ == "__main__":
    sys.exit(main())
