"""The picture of all samples, and how a camera stores it."""

from PIL import Image, ImageDraw

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 40), (40, 60, 210), (230, 210, 40)
CORNERS = (RED, GREEN, BLUE, YELLOW)
"""Colours of the corners: top left, top right, bottom left, bottom right."""


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """The picture of all samples, in `mode`: each quarter is a corner's colour, shaded towards the middle."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for index, colour in enumerate(CORNERS):
        left, top = (index % 2) * (width - width // 3), (index // 2) * (height - height // 3)
        draw.rectangle((left, top, left + width // 3, top + height // 3), fill=colour)
    if mode in ("RGBA", "LA"):
        alpha = Image.new("L", (width, height), 255)
        ImageDraw.Draw(alpha).rectangle((0, height // 2, width, height), fill=0)
        image.putalpha(alpha)
    if mode == "P":
        return image.quantize(64)
    return image if image.mode == mode else image.convert(mode)


def stored_as(orientation: int, image: Image.Image) -> Image.Image:
    """`image` as a camera stores it under an EXIF `orientation` (1 to 8): applying that gives it back."""
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return image if orientation == 1 else image.transpose(inverse[orientation])
