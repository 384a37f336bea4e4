"""Rounds of clicks: the network answers, its answers are corrected, and it learns from both."""

import torch
from numpy.random import Generator
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional

from models.quickstart import losses, network
from models.quickstart.samples import Batch

ROUNDS = (1, 2, 3, 5)  # of clicks per prompt
ROUND_SHARES = (0.4, 0.35, 0.15, 0.1)
MASK_SHARE = 0.5  # of corrected prompts that also bring the mask to correct
# A mask that a person brings as a picture is served as logits of this size.
CERTAIN_LOGIT = 10.0
CERTAIN_SHARE = 0.2


def descend(sam: Sam, encoder: nn.Module, data: Batch, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Answer a batch's prompts, correct the answers by further clicks, and return the loss.

    Args:
        sam: the network.
        encoder: its image encoder, compiled or not.
        data: the batch, on the network's device.
        rng: source of everything random.

    Returns:
        The loss, and of the first answers the true IoU [N,3] and the predicted one [N,3].
    """
    rounds = int(rng.choice(ROUNDS, p=ROUND_SHARES))
    images = network.preprocess(data.images, data.sizes)
    device = images.device
    with torch.autocast(device.type, torch.bfloat16):
        embeddings = encoder(images)
    coords, labels = data.coords, data.labels
    count = len(coords)
    side = data.answers.shape[-1]
    masks = torch.zeros(count, 1, side, side, device=device)
    has_mask = torch.zeros(count, dtype=torch.bool, device=device)
    logits, scores = _decode(sam, embeddings, coords, labels, masks, has_mask)
    loss, true_iou = losses.total(logits, scores, data.answers, data.valid, data.intended, data.distance)
    first = true_iou, scores.detach()
    everyone = torch.arange(count, device=device)
    answer = data.answers[everyone, data.intended]
    for number in range(2, rounds + 1):
        shown = logits.detach()[everyone, scores.detach().argmax(1)]
        point, label = corrective_click(shown, answer, rng)
        # A box's corners come last, a click's "not a point" too.
        coords, labels = torch.cat([point, coords], 1), torch.cat([label, labels], 1)
        masks = shown[:, None]
        if rng.random() < CERTAIN_SHARE:
            masks = masks.sign() * CERTAIN_LOGIT
        has_mask = torch.from_numpy(rng.random(count) < MASK_SHARE).to(device)
        # Only the first and the last round are learnt from: those between only lead there.
        with torch.set_grad_enabled(number == rounds):
            logits, scores = _decode(sam, embeddings, coords, labels, masks, has_mask)
    if rounds > 1:
        # Now it is known which answer is meant.
        valid = torch.ones(count, 1, dtype=torch.bool, device=device)
        intended = torch.zeros(count, dtype=torch.int64, device=device)
        later, _ = losses.total(logits, scores, answer[:, None], valid, intended, data.distance)
        loss = loss + later
    return loss, *first


def _decode(sam: Sam, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
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
    weight = wrong * crowd**2
    nothing = weight.flatten(1).sum(1) == 0
    weight = torch.where(nothing[:, None, None], wanted + 1e-6, weight)
    generator = torch.Generator(logits.device).manual_seed(int(rng.integers(2**31)))
    chosen = torch.multinomial(weight.flatten(1), 1, generator=generator)[:, 0]
    side = logits.shape[-1]
    coords = torch.stack([chosen % side, chosen // side], dim=-1) * 4 + 1.5
    return coords[:, None].float(), wanted.flatten(1).gather(1, chosen[:, None]).long()
