import math

import pytest
import torch

from models.quickstart import losses


@pytest.mark.parametrize(
    ("focal", "cross_entropy", "expected"),
    [
        # p = ½ for a 1: ½² · ln 2. p = ¾ for a 0: (¾)² · ln 4.
        (1, 0, (0.25 * math.log(2) + 0.5625 * math.log(4)) / 2),
        (0, 1, (math.log(2) + math.log(4)) / 2),
    ],
)
def test_pixelwise_losses_are_those_of_the_formulas(
    monkeypatch: pytest.MonkeyPatch, focal: float, cross_entropy: float, expected: float
) -> None:
    monkeypatch.setattr(losses, "FOCAL_WEIGHT", focal)
    monkeypatch.setattr(losses, "CROSS_ENTROPY_WEIGHT", cross_entropy)
    logits, targets = torch.tensor([[[0.0, math.log(3)]]]), torch.tensor([[[1.0, 0.0]]])
    assert losses.pixelwise(logits, targets).item() == pytest.approx(expected)


def test_dice_loss_is_that_of_the_formula() -> None:
    logits, targets = torch.zeros(1, 2, 2), torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    # Shared ½ + ½, sums 2 and 2, with 1 added above and below.
    assert losses.dice(logits, targets).item() == pytest.approx(1 - 3 / 5)


def test_iou_counts_pixels_and_is_zero_for_nothing() -> None:
    logits = torch.tensor([[[1.0, 1.0, -1.0]], [[-1.0, -1.0, -1.0]]])
    targets = torch.tensor([[[0.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]])
    assert losses.iou(logits, targets).tolist() == pytest.approx([1 / 3, 0])


def test_far_mass_is_the_share_of_the_mask_that_is_far() -> None:
    logits = torch.tensor([[[[40.0, 40.0, 40.0, -40.0]]]])
    distance = torch.tensor([[[0.0, 0.5, 1.0, 1.0]]])
    assert losses.far_mass(logits, distance).item() == pytest.approx(1.5 / 4)


def test_far_peak_sees_the_likeliest_far_pixels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "PEAK", 2)
    logits = torch.tensor([[[[9.0, 0.0, math.log(3), -5.0]]]]) - losses.PEAK_MARGIN
    distance = torch.tensor([[[0.0, 1.0, 1.0, 1.0]]])
    assert losses.far_peak(logits, distance).item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert losses.far_peak(logits, torch.zeros(1, 1, 4)).item() == 0


def test_answers_take_candidates_in_order_at_the_least_cost() -> None:
    # The cheapest pairs would be (0, 2) and (1, 0), out of order.
    costs = torch.tensor([[[5.0, 4.0, 0.0], [0.0, 3.0, 2.0], [9.0, 9.0, 9.0]]])
    two = torch.tensor([[True, True, False]])
    assert losses.assign(costs, two).tolist() == [[1, 2, -1]]
    assert losses.assign(costs, torch.tensor([[True, False, False]])).tolist() == [[2, -1, -1]]
    assert losses.assign(costs, torch.tensor([[True, True, True]])).tolist() == [[0, 1, 2]]


def test_perfect_candidates_with_perfect_scores_cost_nothing() -> None:
    answers = torch.zeros(1, 3, 8, 8)
    answers[0, 0, 2:4, 2:4] = answers[0, 1, 1:5, 1:5] = answers[0, 2, :6, :6] = 1
    logits = (answers * 2 - 1) * 40
    valid, intended, distance = torch.ones(1, 3, dtype=torch.bool), torch.tensor([2]), torch.zeros(1, 8, 8)
    iou = torch.tensor([[4 / 36, 16 / 36, 1.0]])
    # Every candidate equals an answer, so none is idle either.
    loss, true = losses.total(logits, iou, answers, valid, intended, distance)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(true, iou)


def test_a_mask_far_away_costs_even_the_candidates_that_are_not_chosen() -> None:
    answers = torch.zeros(1, 3, 8, 8)
    answers[0, 0, :2, :2] = 1
    logits = (answers[:, :1].repeat(1, 3, 1, 1) * 2 - 1) * 40
    valid = torch.tensor([[True, False, False]])
    distance = torch.zeros(1, 8, 8)
    distance[0, 6:, 6:] = 1
    clean, _ = losses.total(logits, torch.ones(1, 3), answers, valid, torch.tensor([0]), distance)
    logits[0, 2, 6:, 6:] = 40
    spotted, _ = losses.total(logits, torch.ones(1, 3), answers, valid, torch.tensor([0]), distance)
    assert clean.item() == pytest.approx(0, abs=1e-6)
    assert spotted.item() > 0.1
