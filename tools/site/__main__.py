"""`make docs`: builds the documentation site into build/site, and fails if anything in it leads nowhere.

python -m tools.site
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tools.site import reference
from tools.site.check import misfits
from tools.site.layout import RECORDING, ROOT, is_page, is_picture, place, rewrite, tracked
from tools.site.recording import STATIC, copy_recording
from tools.site.source import show_file, show_folder

STAGE, SITE = ROOT / "build/docs", ROOT / "build/site"


def main() -> None:
    """Write the sources, build them and check what was built."""
    shutil.rmtree(STAGE, ignore_errors=True)
    stage()
    subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=True)
    found = list(misfits(SITE))
    if found:
        sys.exit("\n".join(found))
    print(f"{SITE.relative_to(ROOT)} is built: its links lead somewhere, and it loads nothing from elsewhere")


def stage() -> None:
    """Write the pages as they are in the site, with every file that one of them links to."""
    files = tracked()
    cited: set[str] = reference.cited()
    for path in files:
        if is_page(path):
            _write(place(path), rewrite((ROOT / path).read_text(), path, cited.add))
        elif is_picture(path):
            _copy(path, place(path))
    for name, write_page in reference.PAGES.items():
        _write(name, write_page())
    _copy(f"{STATIC}/favicon.svg", "favicon.svg")
    _copy("tools/site/site.css", "site.css")
    _stage_sources(files, {path for path in cited if place(path).startswith("source/")})
    copy_recording((STAGE / place(RECORDING)).parent)


def _stage_sources(files: list[str], cited: set[str]) -> None:
    """A page for each file and each folder that is cited."""
    folders = {path for path in cited if (ROOT / path).is_dir()}
    for folder in folders:
        inside = [path for path in files if path.startswith(f"{folder}/")]
        _write(place(folder), show_folder(folder, inside, cited - folders))
    for path in cited - folders:
        _write(place(path), show_file(path))


def _write(name: str, text: str) -> None:
    path = STAGE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _copy(path: str, name: str) -> None:
    target = STAGE / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / path, Path(target))


if __name__ == "__main__":
    main()
