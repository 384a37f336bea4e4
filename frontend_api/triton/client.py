"""`Inference` over Triton's HTTP endpoint with binary tensors."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray
from opentelemetry import propagate
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from frontend_api.errors import InferenceTimeout, NoTriton, RegionUnknown, Saturated, TritonUnavailable, VersionGone
from frontend_api.images.prompts import ModelPrompt
from frontend_api.inference import (
    EMBEDDING_BYTES,
    EMBEDDING_SHAPE,
    MODEL_NAMES,
    Embedding,
    Masks,
    ModelName,
    VersionState,
)
from frontend_api.triton.shared_embeddings import Place, SharedEmbeddings

_PROBE_INPUTS: dict[ModelName, dict[str, NDArray[Any]]] = {
    "sam_encoder": {
        "image": np.zeros((1024, 1024, 3), np.uint8),
        "image_size": np.full(2, 1024, np.int32),
    },
    "sam_decoder": {
        "image_embeddings": np.zeros(EMBEDDING_SHAPE, np.float32),
        "point_coords": np.zeros((4, 2), np.float32),
        "point_labels": np.full(4, -2, np.int32),
        "mask_input": np.zeros((1, 256, 256), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
    },
}


class TritonClient:
    """Speaks to one Triton; `TritonPool` spreads requests over several.

    Args:
        url: ``host:port`` of the HTTP endpoint.
        timeout: seconds after which an inference is given up.
        shared_memory: bytes of embeddings to share with a Triton on this machine; 0 for another's.
    """

    def __init__(self, url: str, timeout: float, shared_memory: int = 0) -> None:
        # Admission control bounds the requests; the connection pool must not queue them a second time.
        self._client = InferenceServerClient(url, conn_limit=0, conn_timeout=timeout)
        self._timeout = timeout
        self._shared = SharedEmbeddings(self._client, shared_memory)

    async def close(self) -> None:
        """Close the connections."""
        await self._shared.close()
        await self._client.close()

    async def versions(self) -> Mapping[ModelName, Mapping[int, VersionState]]:
        """Return the state of every version of both models."""
        try:
            async with self._translated_errors():
                index = await self._client.get_model_repository_index()
            return {
                name: {
                    # Behind its first paragraph a reason holds a traceback with paths.
                    int(entry["version"]): VersionState(
                        entry.get("state") == "READY", entry.get("reason", "").partition("\n\n")[0]
                    )
                    for entry in index
                    if entry["name"] == name and entry.get("version")
                }
                for name in MODEL_NAMES
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NoTriton("what answers in the model server's place is no Triton") from error

    async def load(self, model: ModelName) -> str:
        """Have a Triton in explicit mode serve what its repository holds of a model; one that polls refuses.

        It loads what is new before it unloads what is gone, so it never stops serving.

        Returns:
            Why it could not, in Triton's words; empty if it did.

        Raises:
            TritonUnavailable, InferenceTimeout: it does not answer.
        """
        async with self._translated_errors():
            try:
                await self._client.load_model(model)
            except InferenceServerException as error:
                # Behind its first paragraph a reason holds a traceback with paths.
                return (error.message() or "it does not say why").partition("\n\n")[0].strip()
        return ""

    async def identity(self, model: ModelName, version: int) -> str:
        """Return the identity constant of a model version."""
        answer = await self._infer(model, version, _PROBE_INPUTS[model], ("identity",))
        return _text(answer["identity"])

    async def encode(self, version: int, image: NDArray[np.uint8], size: tuple[int, int]) -> Embedding:
        """Encode an image in the model's frame."""
        inputs: dict[str, NDArray[Any] | Place] = {"image": image, "image_size": np.array(size, np.int32)}
        answer = await self._infer("sam_encoder", version, inputs, ("image_embeddings", "identity"))
        return Embedding(answer["image_embeddings"], _text(answer["identity"]))

    async def decode(self, version: int, embedding: Embedding, prompt: ModelPrompt) -> Masks:
        """Decode one prompt on one embedding."""
        outputs = ("low_res_masks", "iou_predictions", "identity")
        async with self._translated_errors(), self._shared.lend(embedding.values) as place:
            inputs: dict[str, NDArray[Any] | Place] = {
                "image_embeddings": embedding.values if place is None else place,
                "point_coords": prompt.point_coords,
                "point_labels": prompt.point_labels,
                "mask_input": prompt.mask_input,
                "has_mask_input": prompt.has_mask_input,
            }
            answer = await self._infer("sam_decoder", version, inputs, outputs)
        return Masks(answer["low_res_masks"], answer["iou_predictions"], _text(answer["identity"]))

    async def _infer(
        self, model: ModelName, version: int, inputs: Mapping[str, NDArray[Any] | Place], outputs: tuple[str, ...]
    ) -> dict[str, NDArray[Any]]:
        """Run one request of batch size one; tensors go and come without their batch axis."""
        # Else aiohttp offers gzip, and Triton spends tens of milliseconds to make floats a tenth smaller.
        headers = {"Accept-Encoding": "identity"}
        propagate.inject(headers)  # the trace goes on in Triton
        async with self._translated_errors():
            result = await self._client.infer(
                model,
                [_tensor(name, values) for name, values in inputs.items()],
                model_version=str(version),
                timeout=int(1e6 * self._timeout),  # in Triton's queue, in microseconds
                outputs=[InferRequestedOutput(name) for name in outputs],
                headers=headers,
            )
        answer = {name: result.as_numpy(name) for name in outputs}
        if any(values is None for values in answer.values()):
            raise TritonUnavailable(f"version {version} of {model} left out an output")
        return {name: values[0] for name, values in answer.items()}

    @asynccontextmanager
    async def _translated_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise _translated(error) from error
        except TimeoutError as error:
            raise InferenceTimeout(f"inference took longer than {self._timeout:g} seconds") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TritonUnavailable("the model server does not answer; try again shortly") from error


def _tensor(name: str, values: NDArray[Any] | Place) -> InferInput:
    """Return an input of batch size one."""
    if isinstance(values, Place):
        tensor = InferInput(name, [1, *EMBEDDING_SHAPE], "FP32")
        return tensor.set_shared_memory(values.region, EMBEDDING_BYTES, values.offset)
    return InferInput(name, [1, *values.shape], np_to_triton_dtype(values.dtype)).set_data_from_numpy(
        values[np.newaxis]
    )


def _translated(error: InferenceServerException) -> Exception:
    """Map Triton's message to our error tree; Triton has no codes finer than the HTTP status."""
    message = error.message() or ""
    if "queue size" in message:
        return Saturated("the model server's queue is full; try again shortly")
    if "timeout" in message.lower():
        return InferenceTimeout("the request waited too long in the model server's queue")
    if any(words in message for words in ("not found", "not ready", "unknown model", "is not available")):
        return VersionGone("the model version was just replaced; try again")
    if "shared memory region: '" in message:  # a named one; without a name it is the backend that lacks memory
        return RegionUnknown("the model server has restarted; try again shortly")
    return TritonUnavailable("the model server could not run the model; try again shortly")


def _text(identity: NDArray[np.uint8]) -> str:
    return identity.tobytes().rstrip(b"\0").decode("utf-8", "replace")
