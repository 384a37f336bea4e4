"""How wrong three candidates are.

Focal and dice loss, the minimum over the candidates and the squared error of the predicted IoU follow SAM
(arXiv 2304.02643, appendix A). Three things are added. Cross entropy goes on asking for larger logits where focal loss
is content. A click that has several right answers is compared with all of them, and the candidates must answer in
order, the smallest first. And no candidate may hold anything far from the object that was clicked.
"""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

FOCAL_WEIGHT = 10.0
CROSS_ENTROPY_WEIGHT = 0.5
DICE_WEIGHT = 1.0
ALL_CANDIDATES_WEIGHT = 0.08
FAR_WEIGHT = 1.0
PEAK_WEIGHT = 0.5
PEAK = 64  # pixels: a small island is none of a mask's mass, yet a person sees it
PEAK_MARGIN = 1.0  # by which far logits should stay below zero
IOU_WEIGHT = 1.0
CANDIDATES = 3


def pixelwise(logits: Tensor, targets: Tensor) -> Tensor:
    """Weighted mean focal loss with γ = 2 and cross entropy of logits against targets in 0…1: […,H,W] → […]."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weight = FOCAL_WEIGHT * (logits.sigmoid() - targets) ** 2 + CROSS_ENTROPY_WEIGHT
    return (weight * cross_entropy).mean((-2, -1))


def dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice loss, 0…1, of logits against targets in 0…1: […,H,W] → […]."""
    chances = logits.sigmoid()
    shared = (chances * targets).sum((-2, -1))
    return 1 - (2 * shared + 1) / (chances.sum((-2, -1)) + targets.sum((-2, -1)) + 1)


def iou(logits: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of logits > 0 and targets > ½: […,H,W] → […]; 0 if both are empty."""
    drawn, wanted = logits > 0, targets > 0.5
    union = (drawn | wanted).sum((-2, -1))
    return (drawn & wanted).sum((-2, -1)) / union.clamp(min=1)


def far_mass(logits: Tensor, distance: Tensor) -> Tensor:
    """Share of the mask drawn where distance, 0…1, is large: [N,C,H,W], [N,H,W] → [N,C]."""
    chances = logits.sigmoid()
    return (chances * distance[:, None]).sum((-2, -1)) / (chances.sum((-2, -1)) + 1)


def far_peak(logits: Tensor, distance: Tensor) -> Tensor:
    """How boldly the PEAK likeliest of the far pixels are drawn, 0 and more: [N,C,H,W], [N,H,W] → [N,C]."""
    far = logits.masked_fill(distance[:, None] < 0.5, -torch.inf).flatten(2)
    return functional.softplus(far.topk(min(PEAK, far.shape[2])).values + PEAK_MARGIN).mean(2)


def assign(costs: Tensor, valid: Tensor) -> Tensor:
    """Match answers to candidates in order at the least cost.

    Args:
        costs: [N,A,C] of candidate c as answer a.
        valid: bool [N,A]; the valid answers come first.

    Returns:
        int64 [N,A], the candidate of each answer; -1 where invalid.
    """
    chosen = torch.full(costs.shape[:2], -1, dtype=torch.int64, device=costs.device)
    for count in range(1, costs.shape[1] + 1):
        rows = (valid.sum(1) == count).nonzero().ravel()
        if len(rows):
            options = torch.tensor(list(combinations(range(costs.shape[2]), count)), device=costs.device)  # [O,count]
            picked = costs[rows][:, torch.arange(count, device=costs.device), options]  # [rows,O,count]
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
    pairs = (len(logits), answers.shape[1], CANDIDATES)
    drawn = logits[:, None].expand(*pairs, -1, -1)
    wanted = answers[:, :, None].expand(*pairs, -1, -1)
    costs = pixelwise(drawn, wanted) + DICE_WEIGHT * dice(drawn, wanted)
    chosen = assign(costs.detach(), valid)
    matched = costs.gather(2, chosen.clamp(min=0)[..., None])[..., 0] * valid
    rows = torch.arange(len(logits), device=logits.device)
    # The answer asked for counts as much as the others together.
    asked = matched[rows, intended]
    others = (matched.sum(1) - asked) / (valid.sum(1) - 1).clamp(min=1)
    several = valid.sum(1) > 1
    mask_loss = torch.where(several, (asked + others) / 2, asked).mean()
    # The other candidates stay close to some right answer.
    idle = costs.masked_fill(~valid[..., None], torch.inf).amin(1).mean()
    with torch.no_grad():
        true_iou = iou(logits, answers[rows, intended][:, None].expand_as(logits))
    return (
        mask_loss
        + ALL_CANDIDATES_WEIGHT * idle
        + FAR_WEIGHT * far_mass(logits, distance).mean()
        + PEAK_WEIGHT * far_peak(logits, distance).mean()
        + IOU_WEIGHT * functional.mse_loss(scores, true_iou),
        true_iou,
    )
