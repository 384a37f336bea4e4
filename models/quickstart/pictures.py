"""Draws clicks and their candidates on photos: `python -m models.quickstart.pictures --help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray

from export import checkpoint
from models.quickstart.predictor import Predictor

WIDTH = 210  # of one picture in the grid
COLOUR = np.array([30, 144, 255], np.float32)


@dataclass(frozen=True)
class Case:
    """A click on a photo; x and y are shares of its width and height."""

    photo: str
    x: float
    y: float
    what: str


# The first are photos that scikit-image ships, the others lie in the folder given by --photos.
CASES = (
    Case("coffee", 0.47, 0.50, "cup"),
    Case("coffee", 0.20, 0.62, "saucer"),
    Case("astronaut", 0.44, 0.22, "face"),
    Case("astronaut", 0.25, 0.62, "suit"),
    Case("chelsea", 0.48, 0.45, "cat"),
    Case("truck.jpg", 0.29, 0.33, "window"),
    Case("truck.jpg", 0.32, 0.55, "truck"),
    Case("dog.jpg", 0.25, 0.75, "dog"),
    Case("groceries.jpg", 0.5, 0.5, "bag"),
)

app = typer.Typer(add_completion=False)


@app.command()
def draw(
    weights: Annotated[Path, typer.Argument(help="The checkpoint.")],
    out: Annotated[Path, typer.Argument(help="The picture to write, a JPEG file.")],
    photos: Annotated[Path | None, typer.Option(help="Folder of further photos, drawn if they are there.")] = None,
    threads: Annotated[int, typer.Option(help="Processor cores.")] = 2,
) -> None:
    """Write a grid: each row a photo with the click, then the three candidates, the highest score first."""
    torch.set_num_threads(threads)
    predictor = Predictor(checkpoint.load(weights).sam)
    rows = []
    for case in CASES:
        image = _read(case.photo, photos)
        if image is None:
            continue
        height, width = image.shape[:2]
        click = case.x * width, case.y * height, 1
        predictor.look(image)
        masks, scores, _ = predictor.answer([[click]])
        order = scores[0].argsort()[::-1]
        tiles = [_tile(image, None, click, case.what)]
        tiles += [_tile(image, masks[0, i], click, f"{scores[0, i]:.2f}") for i in order]
        rows.append(np.hstack(tiles))
    cv2.imwrite(str(out), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


def _read(photo: str, folder: Path | None) -> NDArray[np.uint8] | None:
    if "." not in photo:
        from skimage import data  # noqa: PLC0415, brings a large library for three pictures

        return np.ascontiguousarray(getattr(data, photo)()[..., :3])
    image = cv2.imread(str(folder / photo)) if folder and (folder / photo).exists() else None
    return None if image is None else np.ascontiguousarray(image[..., ::-1])


def _tile(
    image: NDArray[np.uint8], mask: NDArray[np.bool_] | None, click: tuple[float, float, int], text: str
) -> NDArray[np.uint8]:
    scale = WIDTH / image.shape[1]
    size = (WIDTH, round(image.shape[0] * scale))
    tile = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    if mask is not None:
        opacity = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
        tile = tile * (1 - 0.25 * (1 - opacity)) + 0.55 * opacity * (COLOUR - tile)
    drawn = np.ascontiguousarray(tile.clip(0, 255).astype(np.uint8))
    point = round(click[0] * scale), round(click[1] * scale)
    cv2.circle(drawn, point, 5, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(drawn, point, 3, (220, 20, 20), -1, cv2.LINE_AA)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(drawn, text, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)
    return drawn


if __name__ == "__main__":
    app()
