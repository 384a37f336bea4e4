"""Rounds of clicks: the network answers, its answers are corrected, and it learns from both."""

import torch
from numpy.random import Generator
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional

from models.quickstart import losses, network
from models.quickstart.samples import Batch

ROUNDS = (1, 2, 3)  # of clicks per prompt
ROUND_SHARES = (0.5, 0.35, 0.15)
CLEAR_SHARE = 0.35  # of the batches whose prompts come with further clicks at once
MASK_SHARE = 0.4  # of corrected prompts that also bring the mask to correct
# A mask that a person brings as a picture is served as logits of this size.
CERTAIN_LOGIT = 10.0
CERTAIN_SHARE = 0.2
_RING = 13  # mask pixels around the object, among which a person says: not this


def descend(sam: Sam, data: Batch, rng: Generator) -> tuple[Tensor, dict[str, float]]:
    """Answer a batch's prompts, correct the answers by further clicks, and return the loss.

    Returns:
        The loss, and figures that tell how good the first answers are.
    """
    rounds = int(rng.choice(ROUNDS, p=ROUND_SHARES))
    embeddings = sam.image_encoder(network.preprocess(data.images, data.sizes))
    coords, labels = data.coords, data.labels
    count = len(coords)
    everyone = torch.arange(count)
    answer = data.answers[everyone, data.intended]
    only = (answer[:, None], torch.ones(count, 1, dtype=torch.bool), torch.zeros(count, dtype=torch.int64))
    wanted = data.answers, data.valid, data.intended
    if rng.random() < CLEAR_SHARE:
        for _ in range(int(rng.integers(1, 3))):
            coords, labels = _joined(further_click(answer, rng), coords, labels)
        wanted = only
    masks = torch.zeros(count, 1, *answer.shape[1:])
    has_mask = torch.zeros(count, dtype=torch.bool)
    logits, scores = _decode(sam, embeddings, coords, labels, masks, has_mask)
    loss, true_iou = losses.total(logits, scores, *wanted, data.distance)
    top = true_iou.gather(1, scores.argmax(1)[:, None])
    figures = {"best": true_iou.amax(1).mean().item(), "top": top.mean().item()}
    figures["score off by"] = (scores - true_iou).abs().mean().item()
    for number in range(2, rounds + 1):
        shown = logits.detach()[everyone, scores.detach().argmax(1)]
        coords, labels = _joined(corrective_click(shown, answer, rng), coords, labels)
        masks = shown[:, None]
        if rng.random() < CERTAIN_SHARE:
            masks = masks.sign() * CERTAIN_LOGIT
        has_mask = torch.from_numpy(rng.random(count) < MASK_SHARE)
        # Only the first and the last round are learnt from: those between only lead there.
        with torch.set_grad_enabled(number == rounds):
            logits, scores = _decode(sam, embeddings, coords, labels, masks, has_mask)
    if rounds > 1:
        # Now it is known which answer is meant.
        later, _ = losses.total(logits, scores, *only, data.distance)
        loss = loss + later
    return loss, figures


def _joined(click: tuple[Tensor, Tensor], coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Put a click first: a box's corners come last, a click's "not a point" too."""
    return torch.cat([click[0], coords], 1), torch.cat([click[1], labels], 1)


def _decode(sam: Sam, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        return network.decode(sam, *inputs)


def corrective_click(logits: Tensor, answer: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return a click into what one candidate got wrong.

    Args:
        logits: float32 [N,M,M] of the candidate.
        answer: float32 [N,M,M], 0…1.
        rng: source of everything random.

    Returns:
        coords float32 [N,1,2] in pixels of the picture (4·M) and labels int64 [N,1]: 1 where the candidate lacks
        the object, 0 where it holds what is none.
    """
    wanted = answer > 0.5
    wrong = (logits > 0) != wanted
    # An error's inside is likelier to be clicked than its rim, and a big error than a small one.
    crowd = functional.avg_pool2d(wrong.float()[:, None], 5, 1, 2)[:, 0]
    return _click(wrong * crowd**2, wanted, rng)


def further_click(answer: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return a click into the object or, as often, beside it; as `corrective_click`."""
    wanted = answer > 0.5
    near = functional.max_pool2d(wanted.float()[:, None], 2 * _RING + 1, 1, _RING)[:, 0]
    close = functional.max_pool2d(wanted.float()[:, None], 3, 1, 1)[:, 0]
    beside = torch.from_numpy(rng.random(len(answer)) < 0.5)[:, None, None]
    return _click(torch.where(beside, near - close, wanted.float()), wanted, rng)


def _click(weight: Tensor, wanted: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    nothing = weight.flatten(1).sum(1) == 0
    weight = torch.where(nothing[:, None, None], wanted + 1e-6, weight)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    chosen = torch.multinomial(weight.flatten(1), 1, generator=generator)[:, 0]
    side = weight.shape[-1]
    coords = torch.stack([chosen % side, chosen // side], dim=-1) * 4 + 1.5
    return coords[:, None].float(), wanted.flatten(1).gather(1, chosen[:, None]).long()
