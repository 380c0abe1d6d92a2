"""The version of a store's layout, kept in the store, so that a service that does not know it keeps out.

The layout is what lies where, and the form of the records. It is a whole number in a file or object named
`layout`. A store without one was written before there were versions, and has layout 1.
"""

from typing import Final

from app import __version__
from app.storage.interface import StoreUnusable

LAYOUT: Final = 1
"""The layout that this version writes, and the newest that it reads."""
LAYOUT_NAME: Final = "layout"
LAYOUT_BYTES: Final = b"%d\n" % LAYOUT
"""The content of the file or object."""


def check_layout(content: bytes, store: object) -> None:
    """Refuse a store whose `layout` this version cannot read. `store` is how the operator knows it.

    Raises:
        StoreUnusable: a newer version wrote it, or it is no number.
    """
    text = content.strip()
    if not text.isdigit() or len(text) > 9:
        raise StoreUnusable(f"the layout of {store} is damaged: it has to be a number, such as {LAYOUT}")
    if int(text) > LAYOUT:
        raise StoreUnusable(
            f"{store} has layout {int(text)}, which a newer version of Spillway wrote; version {__version__} "
            f"reads layouts up to {LAYOUT}. Start the newer version again, or restore a backup that is older"
        )
