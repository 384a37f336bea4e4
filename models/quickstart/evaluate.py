"""Measures a checkpoint on scenes it was not trained on: `python -m models.quickstart.evaluate --help`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
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
from models.quickstart.grounds import surface
from models.quickstart.measures import calibration, count_islands, count_pieces, iou
from models.quickstart.predictor import Click, Predictor
from models.quickstart.prompts import most_interior
from models.quickstart.scenes import WHOLE, Material, compose
from models.quickstart.shapes import shape
from models.quickstart.sprites import load

SIZE = 1024
CLICKS = (1, 3, 5)
OBJECTS = 3  # of a scene, at most
SMALLEST = 0.003  # of the picture's area

app = typer.Typer(add_completion=False)


@dataclass
class Record:
    """What became of one object's clicks.

    Attributes:
        pieces: how many the object is seen in.
        best: the IoU of the best candidate after each number of clicks in CLICKS.
        top: that of the candidate with the highest score.
        scores: predicted IoU of the three candidates after one click.
        true: their IoU.
        islands: for each of them, the number of pieces that lie apart.
    """

    pieces: int
    best: list[float] = field(default_factory=list)
    top: list[float] = field(default_factory=list)
    scores: NDArray[np.float32] | None = None
    true: list[float] = field(default_factory=list)
    islands: list[int] = field(default_factory=list)


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(help="The checkpoint.")],
    clipart: Annotated[Path, typer.Option(help="Folder of PNG cut-outs: /usr/share/openclipart/png of Debian.")],
    cache: Annotated[Path, typer.Option(help="Folder for the cut-outs in ready form, one for each --clipart.")],
    scenes: Annotated[int, typer.Option(help="How many held-out scenes.")] = 100,
    seed: Annotated[int, typer.Option(help="Other seeds make other scenes.")] = 7,
    threads: Annotated[int, typer.Option(help="Processor cores.")] = 2,
) -> None:
    """Print the tables of the README."""
    torch.set_num_threads(threads)
    predictor = Predictor(checkpoint.load(weights).sam)
    material = Material(*load(clipart, cache, "held_out"), held_out=True)
    records: list[Record] = []
    for number in track(range(scenes), "scenes"):
        records += click_objects(predictor, material, np.random.default_rng([seed, number]))
    print(report(records))
    print(report_shapes(predictor, material, np.random.default_rng(seed)))


def click_objects(predictor: Predictor, material: Material, rng: Generator) -> list[Record]:
    """Compose a scene and click at its objects' most interior points, then five times into the largest mistake."""
    scene = compose(SIZE, rng, material)
    areas = np.bincount(scene.levels[WHOLE].ravel(), minlength=2)
    numbers = [n for n in range(1, len(areas)) if areas[n] > SMALLEST * scene.levels[WHOLE].size]
    if not numbers:
        return []
    chosen = rng.permutation(numbers)[:OBJECTS]
    things = [scene.levels[WHOLE] == number for number in chosen]
    predictor.look(scene.image)
    clicks = [[_click(thing, 1)] for thing in things]
    records = [Record(count_pieces(thing)) for thing in things]
    for count in range(1, max(CLICKS) + 1):
        masks, scores, small = predictor.answer(clicks)
        for i, (thing, record) in enumerate(zip(things, records, strict=True)):
            true = [iou(mask, thing) for mask in masks[i]]
            shown = int(scores[i].argmax())
            if count == 1:
                record.scores, record.true = scores[i], true
                record.islands = [_islands(mask, thing, clicks[i][0]) for mask in small[i]]
            if count in CLICKS:
                record.best.append(max(true))
                record.top.append(true[shown])
            clicks[i] = [*clicks[i], _correction(masks[i, shown], thing)]
    return records


def report(records: list[Record]) -> str:
    """Return the tables of IoU, islands and calibration in Markdown."""
    lines = ["| clicks | objects | best of three | top-scored |", "|---|---|---|---|"]
    lines += [_row(str(count), records, i) for i, count in enumerate(CLICKS)]
    lines += [_row("1, seen in one piece", [record for record in records if record.pieces == 1], 0)]
    lines += [_row("1, seen in several", [record for record in records if record.pieces > 1], 0)]
    any_island = np.mean([any(record.islands) for record in records])
    top_island = np.mean([record.islands[int(record.scores.argmax())] > 0 for record in records])
    per_mask = np.mean([count > 0 for record in records for count in record.islands])
    lines += [
        "",
        f"Islands: in {any_island:.1%} of prompts some candidate has one, "
        f"in {top_island:.1%} the top-scored one; {per_mask:.1%} of all candidates.",
        "",
        "| predicted IoU | candidates | mean predicted | mean true |",
        "|---|---|---|---|",
    ]
    predicted = np.concatenate([record.scores for record in records])
    true = np.concatenate([record.true for record in records])
    lines += [f"| {name} | {n} | {p:.2f} | {t:.2f} |" for name, n, p, t in calibration(predicted, true)]
    return "\n".join(lines)


def report_shapes(predictor: Predictor, material: Material, rng: Generator, repeats: int = 12) -> str:
    """Return the table for discs, squares and stars, one click each, on plain and on textured grounds."""
    lines = ["", "| drawn shape | best of three | top-scored |", "|---|---|---|"]
    for ground in ("plain", "textured"):
        for kind in ("disc", "square", "star"):
            best, top = [], []
            for image, thing in _drawn(kind, ground == "plain", repeats, material, rng):
                predictor.look(image)
                masks, scores, _ = predictor.answer([[_click(thing, 1)]])
                true = [iou(mask, thing) for mask in masks[0]]
                best.append(max(true))
                top.append(true[int(scores[0].argmax())])
            lines.append(f"| {kind} on a {ground} ground | {np.mean(best):.3f} | {np.mean(top):.3f} |")
    return "\n".join(lines)


def _drawn(
    kind: str, plain: bool, repeats: int, material: Material, rng: Generator
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Yield pictures of one shape of one colour, and where it is."""
    for _ in range(repeats):
        if plain:
            image = np.empty((SIZE, SIZE, 3), np.float32)
            image[:] = rng.uniform(0, 255, 3)
        else:
            image = surface(SIZE, SIZE, rng, material.patterns, held_out=True)
        side = int(rng.uniform(0.15, 0.6) * SIZE)
        y, x = rng.integers(0, SIZE - side, 2)
        area = slice(y, y + side), slice(x, x + side)
        opacity = shape(side, rng, kind) / np.float32(255)
        around = image[area].mean((0, 1))
        colour = rng.uniform(0, 255, 3)
        while np.linalg.norm(colour - around) < 80:
            colour = rng.uniform(0, 255, 3)
        image[area] += (colour - image[area]) * opacity[..., None]
        thing = np.zeros((SIZE, SIZE), bool)
        thing[area] = opacity > 0.5
        yield image.astype(np.uint8), thing


def _row(name: str, records: list[Record], i: int) -> str:
    """Return the row of the mean IoU after CLICKS[i] clicks."""
    if not records:
        return f"| {name} | 0 | | |"
    best, top = np.mean([record.best[i] for record in records]), np.mean([record.top[i] for record in records])
    return f"| {name} | {len(records)} | {best:.3f} | {top:.3f} |"


def _click(mask: NDArray[np.bool_], label: int) -> Click:
    y, x = most_interior(mask)
    return x, y, label


def _correction(mask: NDArray[np.bool_], thing: NDArray[np.bool_]) -> Click:
    """Return a click into the middle of the largest mistake."""
    wrong = mask != thing
    if not wrong.any():
        return _click(thing, 1)
    y, x = most_interior(wrong)
    return x, y, int(thing[y, x])


def _islands(small: NDArray[np.bool_], thing: NDArray[np.bool_], click: Click) -> int:
    """Count islands of a 256 × 256 mask; the thing has the picture's size, 1024 or less a side."""
    shrunk = np.zeros(small.shape, bool)
    quarter = cv2.resize(thing.astype(np.uint8), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) > 0
    shrunk[: quarter.shape[0], : quarter.shape[1]] = quarter
    return count_islands(small, shrunk, int(click[1]) // 4, int(click[0]) // 4)


if __name__ == "__main__":
    app()
