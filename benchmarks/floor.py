"""The least work that answers: the same graphs in ONNX Runtime in this process, the same PNGs, no service around."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from pybase64 import b64encode

from benchmarks.machine import CORES
from frontend_api.images.preprocessing import model_size, to_model_frame
from frontend_api.images.prompts import Prompt, to_model_prompt
from frontend_api.masks.candidates import cutout
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.masks.png import encode_png
from frontend_api.masks.refinement import refine
from frontend_api.masks.upsampling import upsample_mask

Pixels = NDArray[np.uint8]


class Floor:
    """Encoder, decoder and rendering.

    Args:
        repository: a model repository; its newest version is taken.
        spin: whether idle threads of ONNX Runtime spin: quicker on free cores, but it costs processor time.
    """

    def __init__(self, repository: Path, *, spin: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
        options.intra_op_num_threads = CORES
        self._encoder, self._decoder = (
            onnxruntime.InferenceSession(newest_version(repository / name) / "model.onnx", options)
            for name in ("sam_encoder", "sam_decoder")
        )
        self._pool = ThreadPoolExecutor(CORES)
        cv2.setNumThreads(1)

    def encode(self, jpeg: bytes) -> NDArray[np.float32]:
        """Decode and resize a JPEG, and return its embedding."""
        image = np.asarray(Image.open(io.BytesIO(jpeg)))
        size = np.array([model_size(*image.shape[:2])], np.int32)
        return self._encoder.run(["image_embeddings"], {"image": to_model_frame(image)[None], "image_size": size})[0]

    def decode(
        self, embedding: NDArray[np.float32], image: Pixels, box: list[float], batch: int = 1
    ) -> NDArray[np.float32]:
        """Return the logits of the three candidates; of `batch` clicks that are alike they are the first one's."""
        prompt = Prompt(np.empty((0, 2)), np.empty(0, np.int32), np.array(box))
        inputs = to_model_prompt(prompt, *image.shape[:2])
        feeds = {
            "image_embeddings": embedding[0],
            "point_coords": inputs.point_coords,
            "point_labels": inputs.point_labels,
            "mask_input": inputs.mask_input,
            "has_mask_input": inputs.has_mask_input,
        }
        feeds = {name: values[None] if batch == 1 else np.stack(batch * [values]) for name, values in feeds.items()}
        return self._decoder.run(["low_res_masks", "iou_predictions"], feeds)[0][0]

    def click(self, embedding: NDArray[np.float32], image: Pixels, box: list[float]) -> int:
        """Answer one prompt, its candidates in a thread a core; return the size of the answer."""
        logits = self.decode(embedding, image, box)
        return sum(self._pool.map(lambda one: self.render(image, one, {}), logits))

    def render(self, image: Pixels, logits: NDArray[np.float32], spent: dict[str, float]) -> int:
        """Make a candidate's two pictures; add the processor seconds of each stage to `spent`."""
        height, width = image.shape[:2]
        clock = time.thread_time()

        def lap(stage: str) -> None:
            nonlocal clock
            now = time.thread_time()
            spent[stage] = spent.get(stage, 0.0) + now - clock
            clock = now

        mask = upsample_mask(logits, height, width)
        lap("upsample")
        box, alpha = refine(mask, height, width, method=FeatherMethod.EASE_OUT_POWER, feather_width=10)
        lap("refine")
        whole = np.zeros((height, width), np.uint8)
        whole[box.slices] = alpha
        mask_png = encode_png(whole)
        lap("encode mask")
        cutout_png = encode_png(cutout(image, box, alpha))
        lap("encode cut-out")
        size = len(b64encode(mask_png)) + len(b64encode(cutout_png))
        lap("base64")
        return size


def newest_version(model: Path) -> Path:
    """Return the folder of a model's newest version."""
    return max((folder for folder in model.iterdir() if folder.name.isdecimal()), key=lambda folder: int(folder.name))
