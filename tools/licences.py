"""Checks the licences of what is installed for the Python that runs this against those that are allowed.

    python -m tools.licences

They are read from each package's own metadata: the licence expression, else a short text, else classifiers.
Where there are several, each has to be allowed.
"""

import re
import sys
from importlib.metadata import PackageMetadata, distributions

ALLOWED = {
    *("Apache-2.0", "Apache Software License", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "HPND"),
    *("ISC", "ISC License", "ISC License (ISCL)", "MIT", "MIT License", "MIT-0", "MIT-CMU", "PSF-2.0"),
    *("Unlicense", "Zlib"),
    # Of files that are part of no file of ours, and are not changed:
    *("MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"),
}
_MAX_NAME = 40
"""Characters of a licence's name. A longer text is the licence itself."""


def licences(metadata: PackageMetadata) -> set[str]:
    """The names of a package's licences; empty if its metadata do not tell."""
    text = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), "")
    if text and len(text) <= _MAX_NAME and "\n" not in text:
        return set(re.split(r" (?:AND|OR) ", text))
    classifiers = metadata.get_all("Classifier") or []
    return {
        each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: OSI Approved :: ")
    }


def main() -> None:
    """Check every installed package."""
    found = {each.metadata["Name"]: licences(each.metadata) for each in distributions()}
    wrong = [
        f"{name}: {', '.join(sorted(named - ALLOWED)) or 'no licence is named'}"
        for name, named in sorted(found.items())
        if not named or named - ALLOWED
    ]
    if wrong:
        sys.exit("\n".join(["licences that nobody has allowed yet (tools/licences.py):", *wrong]))
    print(f"the licences of {len(found)} packages are allowed")


if __name__ == "__main__":
    main()
