"""Scenes composed ahead of training, in files: `python -m models.quickstart.pack --help`."""

from itertools import count
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from models.quickstart.cutouts import load
from models.quickstart.scenes import Scene, compose

SIDE = 1024
_QUALITY = 93

app = typer.Typer(add_completion=False)


def write(scene: Scene, path: Path) -> None:
    """Write a scene beside the path and rename, so that no half scene is ever read."""
    _, image = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    _, levels = cv2.imencode(".png", scene.levels.transpose(1, 2, 0), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, image=image, levels=levels)
    partial.replace(path)


def read(path: Path) -> Scene:
    """Read what `write` wrote."""
    with np.load(path) as file:
        image = cv2.imdecode(file["image"], cv2.IMREAD_COLOR_RGB)
        levels = cv2.imdecode(file["levels"], cv2.IMREAD_UNCHANGED)
    return Scene(image, np.ascontiguousarray(levels.transpose(2, 0, 1)))


@app.command()
def pack(
    photos: Annotated[list[Path], typer.Option(help="Folders of photographic cut-outs with alpha.")],
    drawings: Annotated[list[Path], typer.Option(help="Folders of drawings with alpha.")],
    grounds: Annotated[list[Path], typer.Option(help="Photos, or folders of them.")],
    cache: Annotated[Path, typer.Option(help="Folder for the material in ready form.")],
    scenes: Annotated[Path, typer.Option(help="Folder for the scenes.")],
    number: Annotated[int, typer.Option(help="How many scenes there should be.")] = 5000,
    seed: Annotated[int, typer.Option(help="Several processes, each with its own seed, may fill one folder.")] = 0,
) -> None:
    """Compose scenes until there are enough; training may begin with the first hundred."""
    cv2.setNumThreads(1)
    material = load(photos, drawings, grounds, cache, "train")
    scenes.mkdir(parents=True, exist_ok=True)
    for index in count():
        path = scenes / f"{seed}-{index:05}.npz"
        if path.exists():
            continue
        if sum(1 for _ in scenes.glob("*.npz")) >= number:
            return
        write(compose(SIDE, np.random.default_rng([seed, index]), material), path)


if __name__ == "__main__":
    app()
