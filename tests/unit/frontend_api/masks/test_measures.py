import numpy as np
import pytest
import torch
from segment_anything.utils.amg import batched_mask_to_box, calculate_stability_score

from frontend_api.masks.measures import measure
from frontend_api.masks.upsampling import upsample_logits, upsample_mask


@pytest.mark.parametrize("size", [(300, 400), (1, 7), (512, 512)])
def test_box_area_and_stability_are_those_of_the_automatic_mask_generator(size):
    y, x = np.ogrid[:256, :256]
    logits = (8 - np.hypot(y - 40, x - 60) / 5).astype(np.float32)
    full = torch.from_numpy(upsample_logits(logits, *size))[None]

    measures = measure(upsample_mask(logits, *size), logits, *size)

    left, top, right, bottom = batched_mask_to_box(full > 0)[0].tolist()
    assert measures["bbox"] == [left, top, right - left + 1, bottom - top + 1]
    assert measures["area"] == int((full > 0).sum())
    assert measures["stability"] == pytest.approx(calculate_stability_score(full, 0.0, 1.0).item(), abs=1e-6)


def test_an_empty_mask_has_an_empty_box():
    logits = np.full((256, 256), -5, np.float32)
    assert measure(upsample_mask(logits, 30, 40), logits, 30, 40) == {"bbox": [0, 0, 0, 0], "area": 0, "stability": 0}
