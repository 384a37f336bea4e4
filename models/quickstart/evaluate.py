"""Measures a checkpoint on scenes of held-out material: `python -m models.quickstart.evaluate --help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from numpy.random import Generator
from numpy.typing import NDArray
from rich.progress import track

from export import checkpoint
from models.quickstart.cutouts import Material, load
from models.quickstart.measures import count_islands, fifths, iou
from models.quickstart.predictor import Click, Predictor
from models.quickstart.prompts import BOTTOM_RIGHT, NOT_A_POINT, TOP_LEFT, most_interior
from models.quickstart.scenes import WHOLE, compose

SIZE = 1024
CLICKS = 3
OBJECTS = 3  # of a scene, at most
SMALLEST = 0.003  # of the picture's area

app = typer.Typer(add_completion=False)


@dataclass
class Record:
    """What became of one object's prompts.

    Attributes:
        scores: predicted IoU of the three candidates, float32 [prompts,3]: after one, two, … clicks, last of a box.
        true: their IoU, float64 [prompts,3].
        islands: bool [3], whether the candidates after one click have pieces that lie apart.
    """

    scores: NDArray[np.float32]
    true: NDArray[np.float64]
    islands: NDArray[np.bool_]

    def top(self) -> NDArray[np.float64]:
        """Return the IoU of the top-scored candidates [prompts]."""
        return np.take_along_axis(self.true, self.scores.argmax(1)[:, None], 1)[:, 0]


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(help="The checkpoint.")],
    cache: Annotated[Path, typer.Option(help="Folder with the material that models.quickstart.pack has read.")],
    scenes: Annotated[int, typer.Option(help="How many held-out scenes.")] = 60,
    seed: Annotated[int, typer.Option(help="Other seeds make other scenes.")] = 7,
    threads: Annotated[int, typer.Option(help="Processor cores.")] = 2,
) -> None:
    """Print the tables of the README."""
    torch.set_num_threads(threads)
    predictor = Predictor(checkpoint.load(weights).sam)
    material = load([], [], [], cache, "held_out")
    records: list[Record] = []
    for number in track(range(scenes), "scenes"):
        records += prompt_objects(predictor, material, np.random.default_rng([seed, number]))
    print(report(records))


def prompt_objects(predictor: Predictor, material: Material, rng: Generator) -> list[Record]:
    """Compose a scene, click at its objects' most interior points, then into the largest mistake; ask with boxes."""
    scene = compose(SIZE, rng, material)
    areas = np.bincount(scene.levels[WHOLE].ravel(), minlength=2)
    numbers = [n for n in range(1, len(areas)) if areas[n] > SMALLEST * scene.levels[WHOLE].size]
    predictor.look(scene.image)
    return [_prompt(predictor, scene.levels[WHOLE] == number) for number in rng.permutation(numbers)[:OBJECTS]]


def _prompt(predictor: Predictor, thing: NDArray[np.bool_]) -> Record:
    clicks: list[Click] = []
    scores, true = [], []
    masks = np.zeros((3, *thing.shape), bool)
    for _ in range(CLICKS):
        shown = masks[int(scores[-1].argmax())] if scores else masks[0]
        wrong = shown != thing
        y, x = most_interior(wrong if wrong.any() else thing)
        clicks = [(x, y, int(thing[y, x])), *clicks]
        masks, predicted, small = predictor.answer([*clicks, (0, 0, NOT_A_POINT)])
        if len(clicks) == 1:
            islands = np.array([_has_islands(mask, thing, x, y) for mask in small])
        scores.append(predicted)
        true.append([iou(mask, thing) for mask in masks])
    x, y, width, height = cv2.boundingRect(thing.astype(np.uint8))
    masks, predicted, _ = predictor.answer([(x, y, TOP_LEFT), (x + width - 1, y + height - 1, BOTTOM_RIGHT)])
    return Record(np.array([*scores, predicted]), np.array([*true, [iou(mask, thing) for mask in masks]]), islands)


def report(records: list[Record]) -> str:
    """Return the tables of IoU, islands and calibration in Markdown."""
    best = np.array([record.true.max(1) for record in records])
    top = np.array([record.top() for record in records])
    lines = [f"| {len(records)} objects | best of three | top-scored |", "|---|---|---|"]
    for i, name in enumerate(("one click", "two clicks", "three clicks", "box")):
        lines.append(f"| {name} | {best[:, i].mean():.3f} | {top[:, i].mean():.3f} |")
    hurt = (top[:, 1:CLICKS] < top[:, : CLICKS - 1] - 0.1).mean()
    islands = np.mean([record.islands for record in records])
    lines += ["", f"{hurt:.1%} of further clicks cost more than 0.1. {islands:.1%} of candidates have islands.", ""]
    lines += ["| predicted IoU, one click | candidates | mean predicted | mean true |", "|---|---|---|---|"]
    predicted, true = (np.concatenate([getattr(r, part)[0] for r in records]) for part in ("scores", "true"))
    lines += [f"| {low:.2f}…{high:.2f} | {n} | {p:.2f} | {t:.2f} |" for low, high, n, p, t in fifths(predicted, true)]
    return "\n".join(lines)


def _has_islands(small: NDArray[np.bool_], thing: NDArray[np.bool_], x: int, y: int) -> bool:
    """Return whether a 256 × 256 mask has any; the thing has the picture's size, 1024 or less a side."""
    shrunk = np.zeros(small.shape, bool)
    quarter = cv2.resize(thing.astype(np.uint8), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) > 0
    shrunk[: quarter.shape[0], : quarter.shape[1]] = quarter
    return count_islands(small, shrunk, y // 4, x // 4) > 0


if __name__ == "__main__":
    app()
