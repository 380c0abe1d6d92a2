"""What can be uploaded: a file, bytes, or whatever is in a folder."""

import io
import mimetypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SUFFIXES = frozenset(
    ".jpg .jpeg .png .gif .webp .avif .heic .heif .tif .tiff .bmp".split()  # noqa: SIM905 - reads better
)
"""Endings of file names that `photos_in` takes for images. The service itself looks at the bytes alone."""

Progress = Callable[[int, int], None]
"""Is called with the bytes sent so far and those of the whole file; from 0 again when it is sent again."""


@dataclass(frozen=True, slots=True)
class Photo:
    """An image to upload: its name, and a file that is opened each time it is sent, or its bytes."""

    name: str
    source: Path | bytes

    @classmethod
    def of(cls, source: "str | Path | bytes | Photo") -> "Photo":
        """A photo of a path, of bytes or of a photo."""
        if isinstance(source, Photo):
            return source
        if isinstance(source, bytes):
            return cls("photo", source)
        return cls(Path(source).name, Path(source))

    @property
    def size(self) -> int:
        """The size in bytes. Raises OSError if the file is not there."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @property
    def media_type(self) -> str:
        """The type by the name's ending. The service decides by the bytes."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    def open(self, progress: Progress | None) -> "PhotoReader":
        """Open the photo to be read from its beginning. Raises OSError if the file cannot be opened."""
        file = io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")
        return PhotoReader(file, self.size, progress)


class PhotoReader:
    """A file that tells how much of it has been read, which is how much was handed to the network."""

    def __init__(self, file: IO[bytes], size: int, progress: Progress | None) -> None:
        self._file = file
        self._size = size
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; all that is left if it is negative."""
        data = self._file.read(size)
        if self._progress is not None:
            self._progress(self._file.tell(), self._size)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another position; where that is."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The present position."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def photos_in(*paths: str | Path) -> Iterator[Photo]:
    """The files of `paths`, and the images in those that are folders and in the folders below, by name.

    Raises:
        FileNotFoundError: one of the paths does not exist.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.exists():
                raise FileNotFoundError(f"there is no file {path}")
            yield Photo.of(path)
            continue
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix.lower() in SUFFIXES:
                yield Photo.of(file)
