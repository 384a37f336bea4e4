"""The shapes of the contract's answers and OpenAPI's description of its request body, as OpenAPI shows them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from frontend_api.segmentation.run_request import RunRequest
from frontend_api.storage.image_store import ImageType


class UploadAnswer(BaseModel):
    """An upload was stored."""

    image_id: UUID
    type: ImageType
    filename: str = Field(examples=["example.jpg"])
    size: int = Field(description="bytes", examples=[123456])
    width: int = Field(description="pixels of the EXIF-oriented image", examples=[1800])
    height: int = Field(description="pixels of the EXIF-oriented image", examples=[1200])


class ImageAnswer(UploadAnswer):
    """What is known of an upload."""

    created_at: datetime
    expires_at: datetime
    embedding_ready: bool = Field(description="whether a click would be answered without the encoder")


class PolygonAnswer(BaseModel):
    """A part of a mask, as corners [x, y] in pixels of the image; pixel (x, y) covers x…x + 1 and y…y + 1."""

    outer: list[tuple[int, int]] = Field(examples=[[[10, 10], [60, 10], [60, 40], [10, 40]]])
    holes: list[list[tuple[int, int]]]


class RunLengthsAnswer(BaseModel):
    """A mask in COCO's compressed run lengths, as pycocotools reads and writes them."""

    size: tuple[int, int] = Field(description="height and width", examples=[[1200, 1800]])
    counts: str


class LogitsAnswer(BaseModel):
    """A mask as SAM itself saw it; the field `logits` of a further click takes it back."""

    data: str = Field(description="base64 of float16 256×256, row by row, little-endian; positive is foreground")
    identity: str = Field(description="of the model that made them", examples=["vit_b/fp32/3f9a5c0e1b2d4f68"])


class MeasuresAnswer(BaseModel):
    """What is measured of SAM's mask, unfeathered."""

    bbox: tuple[int, int, int, int] = Field(description="x, y, width, height", examples=[[10, 10, 50, 30]])
    area: int = Field(description="pixels", examples=[1500])
    stability: float = Field(description="0…1: IoU of the masks at logits above +1 and above −1", examples=[0.97])


class CandidateAnswer(BaseModel):
    """One of SAM's candidates, in the forms that were asked for."""

    masked_image: str | None = Field(
        None,
        description="RGBA PNG or WebP as a data URI, by default cropped to the box of non-zero alpha",
        examples=["data:image/png;base64,iVBORw0KGgo…"],
    )
    mask: str | None = Field(
        None,
        description="grey PNG as a data URI, size of the image, white on black, soft at the edges",
        examples=["data:image/png;base64,iVBORw0KGgo…"],
    )
    score: float = Field(
        description="SAM's predicted IoU: its own estimate, which can lie a little outside 0…1", examples=[0.95]
    )
    polygons: list[PolygonAnswer] | None = Field(None, description="outlines of SAM's mask, largest part first")
    rle: RunLengthsAnswer | None = None
    logits: LogitsAnswer | None = None
    measures: MeasuresAnswer | None = None


class RunAnswer(BaseModel):
    """The candidates, best score first."""

    results: list[CandidateAnswer]


class ModelAnswer(BaseModel):
    """The model pair in service."""

    variant: str = Field(examples=["vit_b"])
    version: int = Field(examples=[1])
    precision: str = Field(examples=["fp32"])
    identity: str = Field(examples=["vit_b/fp32/3f9a5c0e1b2d4f68"])
    since: datetime
    demonstration: bool = Field(
        description="whether this is the small model that ships with Imgr, to try the service with; "
        "SAM's own checkpoints cut out far better",
        examples=[False],
    )


class HealthAnswer(BaseModel):
    """State of the service, of Triton and of the model being served."""

    status: Literal["ok", "unavailable"]
    triton: Literal["reachable", "unreachable"]
    model: ModelAnswer | None
    detail: str | None = Field(description="why clicks can't be served, one sentence")
    failed_versions: dict[str, str] = Field(
        description="what can't be served and why, by model and version; a model alone where its folder or "
        "config.pbtxt can't be read, 'pair' where encoder and decoder of a version don't belong together",
        examples=[{"sam_encoder/2": "Internal: its folder holds no model.onnx"}],
    )


class ErrorAnswer(BaseModel):
    """What was wrong and what would be right, in one sentence."""

    detail: str


def run_request_body() -> dict[str, Any]:
    """Return OpenAPI's description of the body of ``POST /api/run``: JSON or a form with JSON strings."""
    schema = RunRequest.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs"))
    form = {**schema, "properties": {name: _without_null(field) for name, field in schema["properties"].items()}}
    form["properties"] |= {
        "points": {
            "type": "string",
            "description": "JSON",
            "examples": ['[{"x": 512, "y": 340}]'],
        },
        "labels": {"type": "string", "description": "JSON, or 1, 0", "examples": ["[1]"]},
        "box": {"type": "string", "description": "JSON, or 100, 100, 400, 300", "examples": ["[100, 100, 400, 300]"]},
        "outputs": {
            "type": "string",
            "description": "JSON, or names separated by commas",
            "examples": ["rle,measures"],
        },
        "logits": {"type": "string", "description": "JSON"},
    }
    form["example"] = {**schema["example"], "points": '[{"x": 512, "y": 340}]', "labels": "[1]"}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/x-www-form-urlencoded": {"schema": form},
                "application/json": {"schema": schema},
            },
        }
    }


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field of a form, which has no way to say null: it leaves the field out."""
    if "anyOf" not in field:
        return field
    (given,) = (option for option in field["anyOf"] if option != {"type": "null"})
    return {**{key: value for key, value in field.items() if key not in {"anyOf", "default"}}, **given}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema with its references replaced by what they name: the route's schema stands alone."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in node.items()}


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of the error answers with these statuses."""
    answers: dict[int | str, dict[str, Any]] = {status: {"model": ErrorAnswer} for status in statuses}
    if 503 in answers:
        answers[503]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return answers
