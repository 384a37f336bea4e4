import math

import pytest
import torch

from models.quickstart import losses


def test_candidates_are_compared_with_answers_as_the_formulas_say(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = torch.tensor([[[0.0, 0.0, math.log(3), 0.0]]]), torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    # p = ½ for two ones and a zero, p = ¾ for a zero; four times the area is more than there are pixels.
    cross_entropy = (3 * math.log(2) + math.log(4)) / 4
    dice = 1 - (2 * 1 + 1) / (2.25 + 2 + 1)
    assert losses.pairwise(logits, targets).item() == pytest.approx(cross_entropy + dice)
    monkeypatch.setattr(losses, "CROSS_ENTROPY_WEIGHT", 0)
    assert losses.pairwise(logits, targets).item() == pytest.approx(dice)


def test_every_candidate_is_compared_with_every_answer() -> None:
    logits, targets = torch.randn(2, 3, 50), torch.rand(2, 2, 50)
    costs = losses.pairwise(logits, targets)
    assert costs.shape == (2, 2, 3)
    alone = losses.pairwise(logits[1:, 2:], targets[1:, :1])
    torch.testing.assert_close(costs[1, 0, 2], alone[0, 0, 0])


def test_a_small_thing_weighs_more_than_its_share_of_the_picture() -> None:
    small, large = torch.zeros(1, 1, 1000), torch.zeros(1, 1, 1000)
    small[..., :10], large[..., :500] = 1, 1
    missed = [losses.pairwise(torch.full((1, 1, 1000), -6.0), target).item() for target in (small, large)]
    assert missed[0] > 0.4 * missed[1]


def test_iou_counts_pixels_and_is_zero_for_nothing() -> None:
    logits = torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    targets = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert losses.iou(logits, targets).tolist() == pytest.approx([1 / 3, 0])


def test_far_mass_is_the_share_of_the_mask_that_is_far() -> None:
    logits = torch.tensor([[[40.0, 40.0, 40.0, -40.0]]])
    distance = torch.tensor([[0.0, 0.5, 1.0, 1.0]])
    assert losses.far_mass(logits, distance).item() == pytest.approx(1.5 / 4)


def test_far_peak_sees_the_likeliest_far_pixels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "PEAK", 2)
    logits = torch.tensor([[[9.0, 0.0, math.log(3), -5.0]]]) - losses.PEAK_MARGIN
    distance = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    assert losses.far_peak(logits, distance).item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert losses.far_peak(logits, torch.zeros(1, 4)).item() == 0


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
