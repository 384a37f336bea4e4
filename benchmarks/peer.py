"""What a competent user of LitServe would write: SamPredictor, each photo encoded once, quick PNGs.

    python -m benchmarks.peer CHECKPOINT PORT

LitServe gives a model one endpoint, so an upload and a click are told apart by their fields.
"""

import base64
import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import litserve
import numpy as np
import torch
from fastapi import HTTPException, Request
from numpy.typing import NDArray
from segment_anything import SamPredictor

from export import checkpoint

_CACHED_IMAGES = 64
_KERNEL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


class Segmentation(litserve.LitAPI):
    """Embeds what is uploaded and answers clicks from the embedding."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def setup(self, device: str) -> None:
        """Load the model into the worker."""
        self.predictor = SamPredictor(checkpoint.load(self.path).sam.to(device))
        self.images: OrderedDict[str, tuple[Any, ...]] = OrderedDict()

    def decode_request(self, request: Request) -> dict[str, Any]:
        """Take the form as it is."""
        return dict(request)  # type: ignore[call-overload]

    @torch.inference_mode()
    def predict(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Encode an upload or answer a click."""
        predictor = self.predictor
        if "file" in fields:
            content = np.frombuffer(fields["file"].file.read(), np.uint8)
            image = cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            predictor.set_image(image)
            image_id = str(uuid4())
            self.images[image_id] = image, predictor.features, predictor.input_size
            if len(self.images) > _CACHED_IMAGES:
                self.images.popitem(last=False)
            return {"image_id": image_id}
        if fields["original_image_id"] not in self.images:
            raise HTTPException(404, "no such image")
        image, predictor.features, predictor.input_size = self.images[fields["original_image_id"]]
        predictor.original_size, predictor.is_image_set = image.shape[:2], True
        points = [(point["x"], point["y"]) for point in json.loads(fields["points"])]
        box = json.loads(fields.get("box", "null"))
        masks, scores, _ = predictor.predict(
            point_coords=np.array(points) if points else None,
            point_labels=np.array(json.loads(fields["labels"])) if points else None,
            box=np.array(box) if box else None,
            multimask_output=True,
        )
        return {"results": [_result(image, masks[i], float(scores[i])) for i in np.argsort(-scores)]}

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Answer in JSON."""
        return output


def _result(image: NDArray[np.uint8], mask: NDArray[np.bool_], score: float) -> dict[str, Any]:
    smooth = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _KERNEL)
    smooth = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, _KERNEL)
    t = cv2.distanceTransform(1 - smooth, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / 10
    alpha = (255 * np.where(t < 1, (1 - t) ** 3, 0)).round().astype(np.uint8)
    left, top, width, height = cv2.boundingRect(alpha)
    inside = np.s_[top : top + height, left : left + width] if width else np.s_[:, :]
    bgra = cv2.merge([*cv2.split(image[inside])[::-1], alpha[inside]])
    return {"masked_image": _data_uri(bgra), "mask": _data_uri(alpha), "score": score}


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", pixels)[1]).decode()


if __name__ == "__main__":
    server = litserve.LitServer(Segmentation(Path(sys.argv[1])), accelerator="cpu", timeout=300)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
