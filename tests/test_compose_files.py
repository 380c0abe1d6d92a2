"""The compose files hand every setting on to the containers; what each means is tested with containers."""

import re
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).parents[1]
FIXED = {
    "docker-compose.yml": {"HOST", "PORT", "STORE_URL"},
    "docker-compose.cluster.yml": {"HOST", "PORT", "STORE_URL", "ENGINE_URL", "TRUSTED_PROXIES", "DEMO"},
}
"""Settings that are those of the containers, whatever the shell says."""


@pytest.mark.parametrize("file", FIXED)
def test_every_setting_of_the_shell_reaches_the_container(file: str) -> None:
    """It stands there without a value, or with one that the shell's replaces."""
    text = (ROOT / file).read_text()
    names = {name.upper() for name in Settings.model_fields} - FIXED[file]
    handed_on = set(
        re.findall(r"^ +SPILLWAY_([A-Z0-9_]+):(?: \$\{SPILLWAY_\1:-[^}]*\})?(?: #.*)?$", text, re.MULTILINE)
    )
    assert names - handed_on == set()


def test_nothing_is_left_behind_by_a_stampede() -> None:
    """`docker compose down` forgets the containers of a profile, whose network is gone then."""
    for file in FIXED:
        assert "profiles:" not in (ROOT / file).read_text()
