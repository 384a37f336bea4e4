"""Answers to clicks on one picture after another, as the service gives them."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional

from export.sam import IMAGE_SIZE
from models.quickstart import network
from models.quickstart.prompts import NOT_A_POINT

Click = tuple[float, float, int]  # x and y in pixels of the picture, 1 foreground or 0 background


class Predictor:
    """SAM at full size in single precision."""

    def __init__(self, sam: Sam) -> None:
        self.sam = sam.eval()

    @torch.inference_mode()
    def look(self, image: NDArray[np.uint8]) -> None:
        """Take a picture, uint8 [H,W,3] RGB of any size, as the one that clicks are about."""
        self.shape = image.shape[:2]
        self.scale = IMAGE_SIZE / max(self.shape)
        height, width = (int(side * self.scale + 0.5) for side in self.shape)
        if self.scale != 1:
            interpolation = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
            image = cv2.resize(image, (width, height), interpolation=interpolation)
        padded = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        padded[0, :height, :width] = image
        self.size = height, width
        self.embedding = self.sam.image_encoder(network.preprocess(torch.from_numpy(padded), torch.tensor([self.size])))

    @torch.inference_mode()
    def answer(self, clicks: list[list[Click]]) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.bool_]]:
        """Return candidates for several prompts of equally many clicks each.

        Returns:
            Masks bool [P,3,H,W], predicted IoU float32 [P,3], and the masks before they are enlarged, bool
            [P,3,256,256].
        """
        points = torch.tensor(clicks, dtype=torch.float32)
        coords = functional.pad(points[..., :2] * self.scale, (0, 0, 0, 1))
        labels = functional.pad(points[..., 2].long(), (0, 1), value=NOT_A_POINT)
        none = torch.zeros(len(points), dtype=torch.bool)
        logits, scores = network.decode(
            self.sam, self.embedding, coords, labels, torch.zeros(len(points), 1, 256, 256), none
        )
        return (self._enlarge(logits) > 0).numpy(), scores.numpy(), (logits > 0).numpy()

    def _enlarge(self, logits: Tensor) -> Tensor:
        height, width = self.size
        frame = functional.interpolate(logits, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
        return functional.interpolate(frame[..., :height, :width], self.shape, mode="bilinear", align_corners=False)
