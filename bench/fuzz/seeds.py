"""The intact images that a fuzz run begins with: small ones, of every format and most of its variations."""

import struct
from dataclasses import dataclass

from PIL import Image

from tests import samples
from tests.samples.raw_bmp import BMPS, Bmp, raw_bmp

_DISPLAY_P3 = samples.rgb_profile(2.2, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_PRIMARIES = struct.pack(">8I", 31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
_PRESS = samples.cmyk_profile({(1, 0, 0, 0): (160, 90, 80), (0, 1, 0, 0): (120, 200, 120)})


@dataclass(frozen=True, slots=True)
class Seed:
    """One intact file and its format."""

    name: str
    format: str
    data: bytes


def seeds() -> list[Seed]:
    """All seeds, always in the same order."""
    files = {
        "jpeg": samples.jpeg(120, 90),
        "jpeg progressive": samples.jpeg(131, 97, progressive=True),
        "jpeg grey": samples.jpeg(64, 48, mode="L"),
        "jpeg cmyk": samples.jpeg(64, 48, mode="CMYK", icc_profile=_PRESS),
        "jpeg camera": samples.jpeg(
            160, 120, orientation=6, gps=True, thumbnail=samples.jpeg(32, 24), icc_profile=_DISPLAY_P3
        ),
        "jpeg adobe rgb": samples.jpeg(64, 48, exif=b"Exif\0\0" + samples.adobe_rgb_exif()),
        "jpeg restart": samples.jpeg(120, 90, subsampling=2, restart_marker_blocks=4),
        "png": samples.png(96, 72, exif=samples.exif(8)),
        "png alpha": samples.png(64, 48, mode="RGBA", icc_profile=_DISPLAY_P3),
        "png palette": samples.png(64, 48, mode="P"),
        "png one bit": samples.png(64, 48, mode="1"),
        "png grey alpha": samples.png(64, 48, mode="LA"),
        "png grey 16 bit": samples.png(64, 48, mode="I;16"),
        "png 16 bit": samples.deep_png(48, 36),
        "png interlaced": samples.deep_png(48, 36, interlaced=True),
        "png animated": samples.apng(48, 36),
        "png gamma": samples.raw_png(
            32, 24, 8, 2, samples.packed_rows(32, 24, b"\x20\x80\xe0"), gAMA=b"\0\1\x86\xa0", tRNS=bytes(6)
        ),
        "png primaries": samples.raw_png(
            32, 24, 8, 2, samples.packed_rows(32, 24, b"\x20\x80\xe0"), cHRM=_PRIMARIES
        ),
        "png hdr": samples.raw_png(
            32, 24, 8, 2, samples.packed_rows(32, 24, b"\x20\x80\xe0"), cICP=b"\x09\x10\0\1"
        ),
        "webp": samples.webp(120, 90, exif=samples.exif(6), icc_profile=_DISPLAY_P3),
        "webp alpha": samples.webp(64, 48, mode="RGBA"),
        "webp lossless": samples.webp(64, 48, lossless=True),
        "webp animated": samples.animated_webp(64, 48),
        "gif": samples.gif(96, 72),
        "gif animated": samples.gif(64, 48, frames=4),
        "gif transparent": samples.gif_transparent(64, 48),
        "gif disposals": samples.raw_gif(
            (64, 48),
            samples.GifFrame((8, 8, 40, 32), 1, 2),
            samples.GifFrame((32, 0, 40, 32), 2, 3),
            samples.GifFrame((0, 0, 8, 8), 3, None),
        ),
        "tiff": samples.tiff(64, 48, exif=samples.exif(6)),
        "tiff lzw": samples.tiff(64, 48, compression="tiff_lzw"),
        "tiff deflate": samples.tiff(64, 48, compression="tiff_adobe_deflate"),
        "tiff jpeg": samples.tiff(64, 48, compression="jpeg"),
        "tiff packbits": samples.tiff(64, 48, mode="L", compression="packbits"),
        "tiff fax": samples.tiff(64, 48, mode="1", compression="group4"),
        "tiff cmyk": samples.tiff(32, 24, mode="CMYK", icc_profile=_PRESS),
        "tiff grey float": samples.tiff(32, 24, mode="F"),
        "tiff 16 bit": samples.deep_tiff(48, 36),
        "tiff tiled": samples.deep_tiff(64, 48, tile=16),
        "tiff planes": samples.sampled_tiff(samples.picture(64, 48), samples.TiffKind(planes=True)),
        "tiff planes deflate": samples.sampled_tiff(
            samples.picture(64, 48, "RGBA"),
            samples.TiffKind(order=">", tile=32, planes=True, deflate=True),
        ),
        "tiff inverted": samples.sampled_tiff(
            samples.picture(64, 48, "L"), samples.TiffKind(order=">", photometric=0)
        ),
        "tiff float": samples.sampled_tiff(
            samples.picture(32, 24), samples.TiffKind("f32", deflate=True, more=((34_675, _DISPLAY_P3),))
        ),
        "tiff half": samples.sampled_tiff(samples.picture(32, 24, "LA"), samples.TiffKind("f16", ">")),
        "tiff float planes": samples.sampled_tiff(
            samples.picture(32, 24, "RGBA"), samples.TiffKind("f24", tile=16, planes=True)
        ),
        "tiff 32 bit": samples.sampled_tiff(samples.picture(32, 24, "L"), samples.TiffKind("u32", big=True)),
        "tiff 10 bit": samples.sampled_tiff(samples.picture(45, 24), samples.TiffKind("u10", deflate=True)),
        "tiff inks alpha": samples.sampled_tiff(
            [*samples.picture(32, 24, "CMYK").split(), Image.new("L", (32, 24), 99)],
            samples.TiffKind("u8", photometric=5, extra=(1,), more=((34_675, _PRESS),)),
        ),
        "tiff lab": samples.sampled_tiff(samples.picture(32, 24), samples.TiffKind(photometric=8)),
        "tiff icclab": samples.sampled_tiff(
            samples.picture(32, 24), samples.TiffKind(photometric=9, tile=16)
        ),
        "tiff thumbnail": samples.thumbnail_tiff(
            samples.picture(48, 36), samples.TiffKind("u8", deflate=True), {254: [1]}
        ),
        "tiff below thumbnail": samples.thumbnail_tiff(
            samples.picture(48, 36), samples.TiffKind(big=True, order=">"), {254: [1]}, below=True
        ),
        "tiff pages": samples.tiff(32, 24, save_all=True, append_images=[samples.picture(30, 20)]),
        "bmp": samples.bmp(64, 48),
        "bmp palette": samples.bmp(64, 48, mode="P"),
        "bmp one bit": samples.bmp(64, 48, mode="1"),
        "bmp two bits": raw_bmp(BMPS["pal2"]),
        "bmp bit fields": raw_bmp(BMPS["rgb32-7187"]),
        "bmp runs": raw_bmp(BMPS["rgb24rle24"]),
        "bmp alpha": raw_bmp(BMPS["rgba16-1924"]),
        "bmp profile": raw_bmp(Bmp(24, header=124, profile=_DISPLAY_P3)),
        "avif": samples.avif(96, 72, exif=samples.exif(6)),
        "avif alpha": samples.avif(64, 48, mode="RGBA", icc_profile=_DISPLAY_P3),
        "heic": samples.heic(96, 72, exif=samples.exif(6)),
        "heic wide": samples.heic(
            64, 48, save_nclx_profile=True, color_primaries=12, transfer_characteristics=13
        ),
        "heic alpha": samples.heic(64, 48, mode="RGBA", icc_profile=_DISPLAY_P3),
    }
    return [Seed(name, name.partition(" ")[0], data) for name, data in files.items()]
