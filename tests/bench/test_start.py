"""The store that the bench of a start fills is one that a service serves and counts."""

from pathlib import Path

from bench.start import fill
from tests.service import serving

IMAGES = 500


def test_a_store_with_many_images_is_served_and_counted(tmp_path: Path) -> None:
    """Each image has four variants of 1000 bytes."""
    fill(tmp_path / "data", IMAGES)
    with serving(tmp_path) as service:
        assert service.stats()["store_bytes"] == IMAGES * 4 * 1000
        some = next((tmp_path / "data" / "images").glob("*/*")).name
        assert service.get(f"/v1/images/{some}/thumb").status == 200
