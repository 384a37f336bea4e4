"""Refusing to publish graphs that do not compute what `segment_anything` computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional

from export.errors import Disagreement
from export.networks.decoder import NOT_A_POINT, PADDING
from export.networks.sam import GRID, IMAGE_SIZE

MIN_IOU = 0.999
MAX_SCORE_ERROR = 1e-3
MAX_EMBEDDING_ERROR = 1e-3  # root mean square, relative to that of the embedding

# A logit this close to zero, relative to the largest, is decided by rounding and left out of the comparison.
_UNDECIDED = 1e-3


@dataclass(frozen=True)
class Prompt:
    """A prompt in the 1024 frame: points [N,2] with labels [N] of 0 and 1, a box [4], a mask [1,256,256]."""

    name: str
    points: Tensor | None = None
    labels: Tensor | None = None
    box: Tensor | None = None
    mask: Tensor | None = None


def verify(sam: Sam, encoder: Path, decoder: Path, identity: str) -> None:
    """Compare both graphs in ONNX Runtime on the CPU with PyTorch, on a random image and random prompts.

    Raises:
        Disagreement: telling where and by how much they differ.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        embedding = _verify_encoder(sam, encoder, identity, generator)
        _verify_decoder(sam, decoder, identity, embedding, generator)


def _verify_encoder(sam: Sam, path: Path, identity: str, generator: torch.Generator) -> Tensor:
    """Return PyTorch's embedding of the random image, [1,256,64,64]."""
    height, width = IMAGE_SIZE * 2 // 3, IMAGE_SIZE
    image = torch.randint(0, 256, (1, IMAGE_SIZE, IMAGE_SIZE, 3), generator=generator, dtype=torch.uint8)
    for cell in (16, 128):  # structure of several sizes, not only noise
        coarse = torch.rand(1, 3, IMAGE_SIZE // cell, IMAGE_SIZE // cell, generator=generator)
        blobs = functional.interpolate(coarse, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic").permute(0, 2, 3, 1)
        image = (0.5 * image + 127.5 * blobs.clamp(0, 1)).to(torch.uint8)
    expected: Tensor = sam.image_encoder(sam.preprocess(image[:, :height, :width].permute(0, 3, 1, 2).float()))
    size = np.array([[height, width]], np.int32)
    actual, code = open_graph(path).run(["image_embeddings", "identity"], {"image": image.numpy(), "image_size": size})
    _check_identity("encoder", code, identity)
    error = relative_error(expected.numpy(), actual)
    if not error <= MAX_EMBEDDING_ERROR:
        raise Disagreement(
            f"The exported encoder's embedding differs from PyTorch's by {error:.2g} of its size; "
            f"at most {MAX_EMBEDDING_ERROR:g} is accepted, so nothing was published."
        )
    return expected


def _verify_decoder(sam: Sam, path: Path, identity: str, embedding: Tensor, generator: torch.Generator) -> None:
    session = open_graph(path)
    answers = []
    for number, prompt in enumerate(_prompts(sam, embedding, generator)):
        own_embedding = embedding.roll(7 * number, dims=-1)  # a batch of different images
        answers.append((prompt, own_embedding, predict(sam, own_embedding, prompt)))
    length = max(len(tokens(prompt)[1]) for prompt, _, _ in answers) + 3
    batch = [graph_inputs(own, prompt, length) for prompt, own, _ in answers]
    together = session.run(None, {name: np.concatenate([inputs[name] for inputs in batch]) for name in batch[0]})
    for row, (prompt, own_embedding, (masks, scores)) in enumerate(answers):
        _check_answer(f"{prompt.name} in a batch", masks, scores, together[0][row], together[1][row])
        alone = session.run(None, graph_inputs(own_embedding, prompt, max(1, len(tokens(prompt)[1]))))
        _check_answer(prompt.name, masks, scores, alone[0][0], alone[1][0])
    _check_identity("decoder", together[2], identity)


def _prompts(sam: Sam, embedding: Tensor, generator: torch.Generator) -> Iterator[Prompt]:
    def points(count: int) -> dict[str, Tensor]:
        return {
            "points": torch.rand(count, 2, generator=generator) * IMAGE_SIZE,
            "labels": torch.randint(0, 2, (count,), generator=generator),
        }

    box = torch.tensor([0.2, 0.1, 0.7, 0.6]) * IMAGE_SIZE
    for count in (1, 2, 5, 17):
        yield Prompt(f"{count} points", **points(count))
    yield Prompt("a box", box=box)
    yield Prompt("a box and points", **points(3), box=box)
    first, _ = predict(sam, embedding, Prompt("", **points(1)))
    mask = torch.from_numpy(first[:1])
    yield Prompt("a mask", mask=mask)
    yield Prompt("a mask, a box and points", **points(2), box=box, mask=mask)


def predict(sam: Sam, embedding: Tensor, prompt: Prompt) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Answer one prompt as `SamPredictor.predict_torch` does: logits [3,256,256] and scores [3]."""
    points = None if prompt.points is None or prompt.labels is None else (prompt.points[None], prompt.labels[None])
    sparse, dense = sam.prompt_encoder(
        points=points,
        boxes=None if prompt.box is None else prompt.box[None],
        masks=None if prompt.mask is None else prompt.mask[None],
    )
    masks, scores = sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, True)
    return masks[0].numpy(), scores[0].numpy()


def tokens(prompt: Prompt) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the prompt as SAM's points: coordinates [N,2] and labels [N]."""
    coords: list[Tensor] = []
    labels: list[int] = []
    if prompt.points is not None and prompt.labels is not None:
        coords.extend(prompt.points)
        labels.extend(prompt.labels.tolist())
        if prompt.box is None:
            coords.append(torch.zeros(2))
            labels.append(NOT_A_POINT)
    if prompt.box is not None:
        coords.extend(prompt.box.view(2, 2))
        labels.extend((2, 3))
    return np.array([c.tolist() for c in coords], np.float32).reshape(-1, 2), np.array(labels, np.int32)


def graph_inputs(embedding: Tensor, prompt: Prompt, length: int) -> dict[str, NDArray[np.float32] | NDArray[np.int32]]:
    """Return a batch of one for the decoder's graph, its points padded to `length`; what is unused is NaN."""
    coords, labels = tokens(prompt)
    padding = length - len(labels)
    unused = np.full((1, 4 * GRID, 4 * GRID), np.nan, np.float32)
    return {
        "image_embeddings": embedding.numpy(),
        "point_coords": np.pad(coords, ((0, padding), (0, 0)), constant_values=np.nan)[None],
        "point_labels": np.pad(labels, (0, padding), constant_values=PADDING)[None],
        "mask_input": (unused if prompt.mask is None else prompt.mask.numpy())[None],
        "has_mask_input": np.array([[prompt.mask is not None]], np.float32),
    }


def mask_iou(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    """Return the smallest intersection over union of corresponding masks, given as logits [M,H,W].

    Two empty masks agree; values that are not finite agree with nothing.
    """
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return 0.0
    worst = 1.0
    for one, other in zip(expected, actual, strict=True):
        decided = np.abs(one) > _UNDECIDED * np.abs(one).max()
        union = np.count_nonzero(((one > 0) | (other > 0)) & decided)
        both = np.count_nonzero((one > 0) & (other > 0) & decided)
        worst = min(worst, both / union if union else 1.0)
    return worst


def relative_error(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    """Return the root mean square difference divided by the root mean square of `expected`."""
    return float(np.sqrt(np.mean((expected - actual) ** 2)) / np.sqrt(np.mean(expected**2)))


def _check_answer(
    name: str,
    masks: NDArray[np.float32],
    scores: NDArray[np.float32],
    actual_masks: NDArray[np.float32],
    actual_scores: NDArray[np.float32],
) -> None:
    iou = mask_iou(masks, actual_masks)
    if iou < MIN_IOU:
        raise Disagreement(
            f"The exported decoder's masks for {name} agree with PyTorch's to an IoU of {iou:.4f}; "
            f"at least {MIN_IOU} is needed, so nothing was published."
        )
    error = float(np.abs(scores - actual_scores).max())
    if not error <= MAX_SCORE_ERROR:
        raise Disagreement(
            f"The exported decoder's scores for {name} differ from PyTorch's by {error:.2g}; "
            f"at most {MAX_SCORE_ERROR:g} is accepted, so nothing was published."
        )


def _check_identity(graph: str, codes: NDArray[np.uint8], identity: str) -> None:
    if any(bytes(code).rstrip(b"\0").decode() != identity for code in codes):
        raise Disagreement(f"The exported {graph} does not answer with its identity {identity}; nothing was published.")


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph in ONNX Runtime on the CPU, with as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
