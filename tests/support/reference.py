"""What `segment_anything.SamPredictor` says of a click: the definition of right."""

import numpy as np
import torch
from segment_anything import SamPredictor


class Reference:
    """SamPredictor on one checkpoint, asked the way the service's clients ask."""

    def __init__(self, sam):
        self.predictor = SamPredictor(sam.eval())

    def look_at(self, image):
        self.predictor.set_image(image)

    def click(self, points=(), labels=(), box=None, mask_input=None):
        """Return (masks bool [3, H, W], scores [3]), best score first."""
        with torch.inference_mode():
            masks, scores, _ = self.predictor.predict(
                point_coords=np.array(points, np.float64) if len(points) else None,
                point_labels=np.array(labels) if len(points) else None,
                box=None if box is None else np.array(box, np.float64),
                mask_input=mask_input,
                multimask_output=True,
            )
        order = np.argsort(-scores, kind="stable")
        return masks[order], scores[order]


def iou(a, b):
    """Return the intersection over union of two boolean masks; two empty ones are the same."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0
