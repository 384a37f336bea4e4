"""Uploads are read as a browser shows them."""

import base64

import numpy as np
import pytest

from frontend_api.images.decoding import decode_image
from tests.support.pictures import WIDTH, display_p3, encoded, photo, pictures, with_orientation

MIME = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "AVIF": "avif"}

SHOWN = """async (url) => {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0);
  return [canvas.width, Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data)];
}"""

PICTURES = {
    name: (picture.format, picture.data, max(1, picture.tolerance))
    for name, picture in pictures().items()
    if picture.format in MIME and "run-length" not in name
}
PICTURES |= {
    f"{kind} in Display P3": (kind, encoded(photo(), kind, icc_profile=display_p3(), **options), 2)
    for kind, options in {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.items()
}
PICTURES |= {f"orientation {number}": ("JPEG", with_orientation(photo(), number), 1) for number in range(1, 9)}


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_are_those_that_chromium_shows(page, name):
    kind, data, tolerance = PICTURES[name]
    width, values = page.evaluate(SHOWN, f"data:image/{MIME[kind]};base64,{base64.b64encode(data).decode()}")
    shown = np.array(values).reshape(-1, width, 4)[..., :3]
    pixels = decode_image(data, max_pixels=WIDTH * WIDTH).pixels
    assert pixels.shape == shown.shape
    assert np.abs(pixels - shown).mean() <= tolerance
