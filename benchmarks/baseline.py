"""The system that this project replaces, made anew from its description: what a person would write first.

    python -m benchmarks.baseline CHECKPOINT PORT

Uploads lie in a dict; every click encodes the photo again, with one predictor for everybody; masks are smoothed and
feathered on the whole frame, and Pillow writes the PNGs.
"""

import base64
import io
import json
import sys
import threading
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import cv2
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, File, Form, HTTPException, UploadFile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from segment_anything import SamPredictor

from export import checkpoint

_KERNEL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def create_app(path: Path) -> FastAPI:
    """Return the system serving a checkpoint."""
    app = FastAPI()
    predictor, lock = SamPredictor(checkpoint.load(path).sam), threading.Lock()
    images: dict[str, NDArray[np.uint8]] = {}

    @app.post("/api/upload/image")
    def upload(file: Annotated[UploadFile, File()], image_type: Annotated[str, Form()] = "original") -> dict[str, Any]:
        content = file.file.read()
        image_id = str(uuid4())
        images[image_id] = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        return {"image_id": image_id, "type": image_type, "filename": file.filename, "size": len(content)}

    @app.post("/api/run")
    def run(
        original_image_id: Annotated[str, Form()],
        points: Annotated[str, Form()] = "[]",
        labels: Annotated[str, Form()] = "[]",
        box: Annotated[str, Form()] = "null",
    ) -> dict[str, Any]:
        if original_image_id not in images:
            raise HTTPException(404, "no such image")
        image = images[original_image_id]
        where = [(point["x"], point["y"]) for point in json.loads(points)]
        with lock, torch.inference_mode():
            predictor.set_image(image)
            masks, scores, _ = predictor.predict(
                point_coords=np.array(where) if where else None,
                point_labels=np.array(json.loads(labels)) if where else None,
                box=np.array(json.loads(box)) if json.loads(box) else None,
                multimask_output=True,
            )
        return {"results": [_result(image, masks[i], float(scores[i])) for i in np.argsort(-scores)]}

    return app


def _result(image: NDArray[np.uint8], mask: NDArray[np.bool_], score: float) -> dict[str, Any]:
    smooth = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _KERNEL)
    smooth = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, _KERNEL)
    t = ndimage.distance_transform_edt(smooth == 0) / 10
    alpha = (255 * np.where(t < 1, (1 - t) ** 3, 0)).round().astype(np.uint8)
    rgba = np.dstack([image, alpha])
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows):
        rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return {"masked_image": _data_uri(rgba), "mask": _data_uri(alpha), "score": score}


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    uvicorn.run(create_app(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
