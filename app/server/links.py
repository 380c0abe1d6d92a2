"""Makes every address that the service tells its clients, so that each begins with the setting PUBLIC_URL."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from app.server.problem_kinds import Kind


@dataclass(frozen=True, slots=True)
class Links:
    """The addresses of one service: paths from its root, or absolute ones where it has a public URL."""

    public_url: str = ""
    """Scheme, host, and a path without a final slash; empty if links are paths from the root."""

    def to(self, path: str) -> str:
        """The address of a path of the service, such as `/v1/images`."""
        return f"{self.public_url}{path}"

    def problem_type(self, kind: Kind) -> str:
        """The problem type URI of a kind: IANA's where one is registered, else the address of its page."""
        return kind.type_uri or self.to(kind.page)

    @property
    def prefix(self) -> str:
        """The path of the public URL, as it stands in links: what a proxy in front may take off."""
        return urlsplit(self.public_url).path

    @property
    def decoded_prefix(self) -> str:
        """The path of the public URL without percent-encoding, as the path of an ASGI scope has it."""
        return unquote(self.prefix)

    @property
    def authority(self) -> str:
        """Host and port of the public URL, as a Host field names them; empty if there is none."""
        return urlsplit(self.public_url).netloc


FROM_ROOT: Final = Links()
"""Links that are paths from the root of the server."""
