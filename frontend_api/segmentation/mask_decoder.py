"""SAM's mask decoder, asked with an embedding of its own checkpoint."""

from uuid import UUID

from frontend_api.errors import InvalidAnswer, InvalidPrompt, NoModelInService, VersionGone
from frontend_api.images.prompts import ModelPrompt
from frontend_api.inference import Masks
from frontend_api.metrics import Metrics
from frontend_api.model.service import ModelService
from frontend_api.segmentation.embeddings import Embeddings
from frontend_api.segmentation.patience import PatientInference

_ATTEMPTS = 4  # a model swapped under a click is met once, an edit in place of both its files twice


class MaskDecoder:
    """Decodes prompts on stored images."""

    def __init__(
        self, inference: PatientInference, models: ModelService, embeddings: Embeddings, metrics: Metrics
    ) -> None:
        self._inference = inference
        self._models = models
        self._embeddings = embeddings
        self._metrics = metrics

    async def decode(self, image_id: UUID, prompt: ModelPrompt, identity: str | None = None) -> Masks:
        """Decode a prompt with embedding and decoder of one checkpoint, however the models change meanwhile.

        Args:
            image_id: of an original.
            prompt: where it points.
            identity: of the model whose logits are part of the prompt, if any are.

        Raises InvalidPrompt where another model serves than made the logits, ImageNotFound, InvalidAnswer,
        NoModelInService and what the inference raises.
        """
        model = await self._models.in_service()
        contradiction = ""
        for _ in range(_ATTEMPTS):
            if identity not in {None, model.identity}:
                raise InvalidPrompt(
                    f"the logits were made by {identity}, but {model.identity} serves now; click again without them"
                )
            try:
                with self._metrics.stage("embedding"):
                    embedding = await self._embeddings.get(image_id, model)
                decoder = model.identity
                if embedding.identity == decoder:
                    with self._metrics.stage("decode_prompts"):
                        masks = await self._inference.decode(model.version, embedding, prompt)
                    if not masks.finite:
                        raise InvalidAnswer("sam_decoder", model.version)
                    if masks.identity == embedding.identity:
                        return masks
                    decoder = masks.identity
                contradiction = f"the encoder's is {embedding.identity}, the decoder's {decoder}"
            except VersionGone as error:
                contradiction = str(error)
            except InvalidAnswer as error:
                await self._models.examine(model)
                if await self._models.in_service() == model:
                    raise
                contradiction = str(error)
            model = await self._models.refresh(model)
        raise NoModelInService(f"encoder and decoder do not belong together: {contradiction}")
