"""Colour profiles: what a picture means by its numbers, brought to sRGB."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_UNSEEN = 1  # grey levels

# A transform that leaves these as they are is spared: most profiles are sRGB's own.
_STEPS = np.linspace(0, 255, 17).astype(np.uint8)
_SAMPLES = {
    "RGB": Image.fromarray(np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), -1).reshape(17, -1, 3)),
    "L": Image.fromarray(np.arange(256, dtype=np.uint8)[None]),
}


def to_srgb(picture: Image.Image) -> Image.Image:
    """Convert a picture by the ICC profile it carries, as browsers do; alpha stays as it is.

    Phones write Display P3. A picture without a profile is sRGB already; a profile that is damaged, or of another kind
    of picture, is ignored.

    Args:
        picture: of mode RGB, RGBA, L, CMYK or P, or with transparency; others are returned unchanged.
    """
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    if picture.mode not in ("RGB", "RGBA", "L", "CMYK"):
        return picture
    colours = picture.convert("RGB") if picture.mode == "RGBA" else picture
    try:
        transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(BytesIO(profile)), _SRGB, colours.mode, "RGB")
        sample = _SAMPLES.get(colours.mode)
        if sample is not None and _same(_transformed(sample, transform), sample.convert("RGB")):
            return picture
        converted = _transformed(colours, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    if picture.mode == "RGBA":
        converted.putalpha(picture.getchannel("A"))
    return converted


def _transformed(picture: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None  # noqa: S101 - only a transform in place returns nothing
    return converted


def _same(one: Image.Image, other: Image.Image) -> bool:
    return bool(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max() <= _UNSEEN)
