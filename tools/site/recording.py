"""The page that plays a recorded run, made independent of the rest of the repository."""

import re
import shutil
from pathlib import Path

from tools.site.layout import RECORDING, ROOT

STATIC = "app/web/static"


def copy_recording(folder: Path) -> None:
    """Copy the page into a new folder, with the stylesheets and scripts that it uses beside it."""
    shutil.copytree(ROOT / RECORDING, folder)
    shutil.copytree(ROOT / STATIC, folder / "static")
    for name in ("index.html", "play.js"):
        file = folder / name
        file.write_text(re.sub(rf"\.\./\.\./{STATIC}/(\./)?", "./static/", file.read_text()))
