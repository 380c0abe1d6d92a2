"""Sizes in bytes as people read them."""


def format_size(size_bytes: int) -> str:
    """A size in the largest binary unit of which there is at least one, such as "20 MiB"."""
    value, unit = float(size_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
