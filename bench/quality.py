"""The quality of a scaled picture: SSIM and PSNR against a LANCZOS filter computed in floats."""

from functools import cache

import numpy as np
from PIL import Image

Pixels = np.ndarray
_LOBES = 3
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def reference(image: Image.Image, size: tuple[int, int]) -> Pixels:
    """`image` (RGB, whole) at `size` by LANCZOS with three lobes, widened by the scale, in floats throughout.

    The kernel's phase and edges are those of Pillow and libvips: pixel centres, weights normalised.
    """
    pixels = np.asarray(image, np.float32)
    half = _scaled_rows(pixels, size[1])
    return _scaled_rows(half.transpose(1, 0, 2), size[0]).transpose(1, 0, 2).clip(0, 255)


def _scaled_rows(pixels: Pixels, height: int) -> Pixels:
    rows, *rest = pixels.shape
    flat = np.ascontiguousarray(pixels).reshape(rows, -1)
    scale = rows / height
    reach = _LOBES * max(1.0, scale)
    out = np.empty((height, flat.shape[1]), np.float32)
    for row in range(height):
        centre = (row + 0.5) * scale
        first, last = max(0, int(centre - reach)), min(rows, int(centre + reach) + 1)
        x = (np.arange(first, last) + 0.5 - centre) / max(1.0, scale)
        weights = np.where(np.abs(x) < _LOBES, np.sinc(x) * np.sinc(x / _LOBES), 0)
        out[row] = (weights / weights.sum()).astype(np.float32) @ flat[first:last]
    return out.reshape(height, *rest)


@cache
def _window() -> Pixels:
    x = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(x**2) / (2 * _SIGMA**2))
    return (weights / weights.sum()).astype(np.float32)


def _blurred(plane: Pixels) -> Pixels:
    for _ in range(2):
        height = plane.shape[0] - 2 * _RADIUS
        blurred = np.zeros((height, plane.shape[1]), np.float32)
        for offset, weight in enumerate(_window()):
            blurred += weight * plane[offset : offset + height]
        plane = np.ascontiguousarray(blurred.T)
    return plane


def ssim(made: Image.Image, wanted: Pixels) -> float:
    """Mean structural similarity of the lumas (Wang et al. 2004: Gaussian window of 11, sigma 1.5)."""
    return _similarity(np.asarray(made.convert("RGB"), np.float32) @ _LUMA, wanted @ _LUMA)


def ssim_rgb(made: Image.Image, wanted: Pixels) -> float:
    """Mean structural similarity (SSIM) of red, green and blue, averaged over the three."""
    pixels = np.asarray(made.convert("RGB"), np.float32)
    return sum(_similarity(pixels[..., band], wanted[..., band]) for band in range(3)) / 3


def _similarity(a: Pixels, b: Pixels) -> float:
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    scores = (2 * mean_a * mean_b + _C1) * (2 * both + _C2)
    scores /= (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
    return float(scores.mean())


def psnr(made: Image.Image, wanted: Pixels) -> float:
    """Peak signal-to-noise ratio over all channels, in dB."""
    error = np.asarray(made.convert("RGB"), float) - wanted
    return float(10 * np.log10(255**2 / max(1e-12, (error**2).mean())))
