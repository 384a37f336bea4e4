"""Answers to clicks on one picture after another, as the service gives them."""

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch.nn import functional

from frontend_api.images.preprocessing import model_size, to_model_frame
from frontend_api.masks.upsampling import upsample_logits
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
        self.size = model_size(*self.shape)
        frame = torch.from_numpy(to_model_frame(image))[None]
        self.embedding = self.sam.image_encoder(network.preprocess(frame, torch.tensor([self.size])))

    @torch.inference_mode()
    def answer(self, clicks: list[list[Click]]) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.bool_]]:
        """Return candidates for several prompts of equally many clicks each.

        Returns:
            Masks bool [P,3,H,W], predicted IoU float32 [P,3], and the masks before they are enlarged, bool
            [P,3,256,256].
        """
        points = torch.tensor(clicks, dtype=torch.float32)
        scale = torch.tensor([self.size[1] / self.shape[1], self.size[0] / self.shape[0]])
        coords = functional.pad(points[..., :2] * scale, (0, 0, 0, 1))
        labels = functional.pad(points[..., 2].long(), (0, 1), value=NOT_A_POINT)
        none = torch.zeros(len(points), dtype=torch.bool)
        logits, scores = network.decode(
            self.sam, self.embedding, coords, labels, torch.zeros(len(points), 1, 256, 256), none
        )
        masks = [[upsample_logits(candidate, *self.shape) > 0 for candidate in prompt] for prompt in logits.numpy()]
        return np.array(masks), scores.numpy(), (logits > 0).numpy()
