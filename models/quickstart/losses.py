"""How wrong three candidates are.

Dice loss, the minimum over the candidates and the squared error of the predicted IoU follow SAM (arXiv 2304.02643,
appendix A). Cross entropy with the covered share of each pixel takes the place of focal loss: it goes on asking for
larger logits, and logits that are the odds of being covered are smooth where they are enlarged. A click that has
several right answers is compared with all of them, and the candidates must answer in order, the smallest first. And no
candidate may hold anything far from the object that was clicked.
"""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

CROSS_ENTROPY_WEIGHT = 1.0
DICE_WEIGHT = 1.0
ALL_CANDIDATES_WEIGHT = 0.08
FAR_WEIGHT = 0.5
PEAK_WEIGHT = 0.25
PEAK = 64  # pixels: a small island is none of a mask's mass, yet a person sees it
PEAK_MARGIN = 1.0  # by which far logits should stay below zero
IOU_WEIGHT = 1.5
CANDIDATES = 3


def pairwise(logits: Tensor, targets: Tensor) -> Tensor:
    """Return cross entropy and dice loss of every candidate as every answer: [N,C,P], [N,A,P] 0…1 → [N,A,C].

    Both are sums of products of a function of the logit and the target, so no tensor of A × C × P is made. Cross
    entropy is summed over all pixels and divided by four times the answer's area, at most by the picture's: else a
    small thing would weigh nothing.
    """
    pixels = logits.shape[-1]
    chances = logits.sigmoid()
    area = targets.sum(-1)[..., None]
    everywhere = functional.softplus(logits).sum(-1)[:, None]
    cross_entropy = (everywhere - targets @ logits.transpose(1, 2)) / (4 * area + 0.02 * pixels).clamp(max=pixels)
    shared = targets @ chances.transpose(1, 2)
    dice = 1 - (2 * shared + 1) / (chances.sum(-1)[:, None] + area + 1)
    return CROSS_ENTROPY_WEIGHT * cross_entropy + DICE_WEIGHT * dice


def iou(logits: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of logits > 0 and targets > ½: […,P] → […]; 0 if both are empty."""
    drawn, wanted = logits > 0, targets > 0.5
    union = (drawn | wanted).sum(-1)
    return (drawn & wanted).sum(-1) / union.clamp(min=1)


def far_mass(logits: Tensor, distance: Tensor) -> Tensor:
    """Share of the mask drawn where distance, 0…1, is large: [N,C,P], [N,P] → [N,C]."""
    chances = logits.sigmoid()
    return (chances @ distance[..., None])[..., 0] / (chances.sum(-1) + 1)


def far_peak(logits: Tensor, distance: Tensor) -> Tensor:
    """How boldly the PEAK likeliest of the far pixels are drawn, 0 and more: [N,C,P], [N,P] → [N,C]."""
    far = logits.masked_fill(distance[:, None] < 0.5, -torch.inf)
    return functional.softplus(far.topk(min(PEAK, far.shape[-1])).values + PEAK_MARGIN).mean(2)


def assign(costs: Tensor, valid: Tensor) -> Tensor:
    """Give every valid answer a candidate, later answers to later candidates, at the least total cost.

    Args:
        costs: [N,A,C] of candidate c as answer a.
        valid: bool [N,A]; the valid answers come first.

    Returns:
        int64 [N,A], the candidate of each answer; -1 where invalid.
    """
    chosen = torch.full(costs.shape[:2], -1, dtype=torch.int64)
    for count in range(1, costs.shape[1] + 1):
        rows = (valid.sum(1) == count).nonzero().ravel()
        if len(rows):
            options = torch.tensor(list(combinations(range(costs.shape[2]), count)))  # [O,count]
            picked = costs[rows][:, torch.arange(count), options]  # [rows,O,count]
            chosen[rows, :count] = options[picked.sum(-1).argmin(1)]
    return chosen


def total(
    logits: Tensor, scores: Tensor, answers: Tensor, valid: Tensor, intended: Tensor, distance: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss to descend and the IoU of every candidate with the intended answer.

    Args:
        logits: float32 [N,3,H,W].
        scores: float32 [N,3], predicted IoU.
        answers: float32 [N,A,H,W], 0…1.
        valid: bool [N,A]; the valid answers come first.
        intended: int64 [N], index of the answer that was asked for.
        distance: float32 [N,H,W], 0 near the clicked object and 1 far from it.
    """
    logits, answers, distance = logits.flatten(2), answers.flatten(2), distance.flatten(1)
    costs = pairwise(logits, answers)
    chosen = assign(costs.detach(), valid)
    matched = costs.gather(2, chosen.clamp(min=0)[..., None])[..., 0] * valid
    rows = torch.arange(len(logits))
    # The answer asked for counts as much as the others together.
    asked = matched[rows, intended]
    others = (matched.sum(1) - asked) / (valid.sum(1) - 1).clamp(min=1)
    mask_loss = torch.where(valid.sum(1) > 1, (asked + others) / 2, asked).mean()
    # The other candidates stay close to some right answer.
    idle = costs.masked_fill(~valid[..., None], torch.inf).amin(1).mean()
    with torch.no_grad():
        true_iou = iou(logits, answers[rows, intended][:, None])
    return (
        mask_loss
        + ALL_CANDIDATES_WEIGHT * idle
        + FAR_WEIGHT * far_mass(logits, distance).mean()
        + PEAK_WEIGHT * far_peak(logits, distance).mean()
        + IOU_WEIGHT * functional.mse_loss(scores, true_iou),
        true_iou,
    )
