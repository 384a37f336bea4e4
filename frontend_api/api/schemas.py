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


class CandidateAnswer(BaseModel):
    """One of SAM's three candidates."""

    masked_image: str = Field(
        description="RGBA PNG as a data URI, cropped to the bounding box of non-zero alpha",
        examples=["data:image/png;base64,iVBORw0KGgo…"],
    )
    mask: str = Field(
        description="grey PNG as a data URI, size of the image, white on black, soft at the edges",
        examples=["data:image/png;base64,iVBORw0KGgo…"],
    )
    score: float = Field(description="SAM's predicted IoU", examples=[0.95])


class RunAnswer(BaseModel):
    """The three candidates, best score first."""

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
            "default": "[]",
            "examples": ['[{"x": 512, "y": 340}]'],
        },
        "labels": {"type": "string", "description": "JSON", "default": "[]", "examples": ["[1]"]},
        "box": {"type": "string", "description": "JSON", "examples": ["[100, 100, 400, 300]"]},
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
