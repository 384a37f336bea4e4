"""Answers to prompts on one picture after another, as the service gives them."""

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam

from frontend_api.images.preprocessing import model_size, to_model_frame
from frontend_api.masks.upsampling import upsample_logits
from models.quickstart import network

Click = tuple[float, float, int]  # x and y in pixels of the picture, and a label as in `prompts`


class Predictor:
    """SAM at full size in single precision."""

    def __init__(self, sam: Sam) -> None:
        self.sam = sam.eval()

    @torch.inference_mode()
    def look(self, image: NDArray[np.uint8]) -> None:
        """Take a picture, uint8 [H,W,3] RGB of any size, as the one that prompts are about."""
        self.shape = image.shape[:2]
        self.size = model_size(*self.shape)
        frame = torch.from_numpy(to_model_frame(image))[None]
        self.embedding = self.sam.image_encoder(network.preprocess(frame, torch.tensor([self.size])))

    @torch.inference_mode()
    def answer(self, clicks: list[Click]) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.bool_]]:
        """Return the candidates for a prompt.

        Returns:
            Masks bool [3,H,W], predicted IoU float32 [3], and the masks before they are enlarged, bool [3,256,256].
        """
        points = torch.tensor([clicks], dtype=torch.float32)
        scale = torch.tensor([self.size[1] / self.shape[1], self.size[0] / self.shape[0]])
        none = torch.zeros(1, 1, 256, 256), torch.zeros(1, dtype=torch.bool)
        logits, scores = network.decode(self.sam, self.embedding, points[..., :2] * scale, points[..., 2].long(), *none)
        masks = [upsample_logits(candidate, *self.shape) > 0 for candidate in logits[0].numpy()]
        return np.array(masks), scores[0].numpy(), (logits[0] > 0).numpy()
