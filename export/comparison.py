"""What a graph of less than full precision does to masks: the same questions to both, on the same pictures."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.agreement import Agreement, Comparison
from export.examples import Frame
from export.networks.decoder import NOT_A_POINT
from export.networks.sam import GRID, IMAGE_SIZE
from export.verification import open_graph, relative_error

_POINTS, _BOXES = 8, 4  # of each kind of prompt and picture
_LOGITS = 4 * GRID


@dataclass(frozen=True)
class Pair:
    """The files of an encoder and the decoder that goes with it."""

    encoder: Path
    decoder: Path


@dataclass(frozen=True)
class _Answers:
    ious: list[float]
    score_errors: list[float]


def compare(reference: Pair, other: Pair, frames: Sequence[Frame]) -> Comparison:
    """Ask both pairs for masks of the same pictures and prompts, in ONNX Runtime on the CPU.

    One graph at a time is loaded: each may be of gigabytes.
    """
    embeddings = [_embed(pair.encoder, frames) for pair in (reference, other)]
    decoders = [open_graph(pair.decoder) for pair in (reference, other)]
    found: defaultdict[str, _Answers] = defaultdict(lambda: _Answers([], []))
    for number, (_, size) in enumerate(frames):
        for kind, coords, labels in _prompts(np.random.default_rng(number), size[0]):
            answers = [
                _decode(decoder, embedding[number], coords, labels)
                for decoder, embedding in zip(decoders, embeddings, strict=True)
            ]
            (masks, scores), (other_masks, other_scores) = answers
            height, width = -(-size[0] * _LOGITS // IMAGE_SIZE)
            found[kind].ious.extend(_ious(masks[..., :height, :width], other_masks[..., :height, :width]))
            found[kind].score_errors.extend(np.abs(scores - other_scores).ravel().tolist())
    return Comparison(
        [_summary(kind, answers) for kind, answers in found.items()],
        _summary(
            "all",
            _Answers(
                [iou for answers in found.values() for iou in answers.ious],
                [error for answers in found.values() for error in answers.score_errors],
            ),
        ),
        relative_error(np.concatenate(embeddings[0]), np.concatenate(embeddings[1])),
        len(frames),
    )


def _embed(encoder: Path, frames: Sequence[Frame]) -> list[NDArray[np.float32]]:
    session = open_graph(encoder)
    return [session.run(["image_embeddings"], {"image": image, "image_size": size})[0] for image, size in frames]


def _prompts(
    rng: np.random.Generator, size: NDArray[np.int32]
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.int32]]]:
    """Yield batches of prompts in a picture of the size (height, width): kind, coordinates [B,N,2], labels [B,N]."""
    extent = size[::-1].astype(np.float32)
    nothing = np.zeros((_POINTS, 1, 2), np.float32)
    for kind, labels in (("one point", [1]), ("three points", [1, 1, 0])):
        points = rng.random((_POINTS, len(labels), 2), np.float32) * extent
        yield kind, np.concatenate([points, nothing], 1), np.array([[*labels, NOT_A_POINT]] * _POINTS, np.int32)
    centres, spans = rng.random((2, _BOXES, 2), np.float32)
    corners = np.stack([centres - 0.05 - spans / 4, centres + 0.05 + spans / 4], 1)
    yield "a box", corners.clip(0, 1) * extent, np.array([[2, 3]] * _BOXES, np.int32)


def _decode(
    decoder: onnxruntime.InferenceSession,
    embedding: NDArray[np.float32],
    coords: NDArray[np.float32],
    labels: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits [B,3,256,256] and scores [B,3]."""
    batch = len(labels)
    inputs = {
        "image_embeddings": embedding.repeat(batch, 0),
        "point_coords": coords,
        "point_labels": labels,
        "mask_input": np.zeros((batch, 1, _LOGITS, _LOGITS), np.float32),
        "has_mask_input": np.zeros((batch, 1), np.float32),
    }
    logits, scores = decoder.run(["low_res_masks", "iou_predictions"], inputs)
    return logits, scores


def _ious(logits: NDArray[np.float32], others: NDArray[np.float32]) -> list[float]:
    """Return the intersection over union of corresponding masks [B,3,H,W]; 0 where a logit is not finite."""
    finite = np.isfinite(others).all((2, 3))
    both = ((logits > 0) & (others > 0)).sum((2, 3))
    either = ((logits > 0) | (others > 0)).sum((2, 3))
    ious = np.where(either > 0, both / either.clip(1), 1.0)  # two empty masks agree
    return np.where(finite, ious, 0.0).ravel().tolist()  # type: ignore[no-any-return]


def _summary(kind: str, answers: _Answers) -> Agreement:
    return Agreement(
        kind,
        len(answers.ious),
        float(np.mean(answers.ious)),
        float(np.quantile(answers.ious, 0.05)),
        float(np.mean(answers.score_errors)),
    )
