"""What an exported graph says about itself; readable without PyTorch and without loading weights."""

import hashlib
from pathlib import Path
from typing import BinaryIO

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo

# Part of every identity: raise it when the same checkpoint must give graphs that old ones cannot be mixed with.
FORMAT_VERSION = 1

VARIANT = "variant"
PRECISION = "precision"
IDENTITY = "identity"
CHECKPOINT = "checkpoint"
CHECKPOINT_SHA256 = "checkpoint_sha256"
EXPORTED_AT = "exported_at"
IMGR_VERSION = "imgr_version"
EXPORT_FORMAT = "export_format"

# A graph whose weights lie in another file is far smaller; a larger file holds them itself.
_LARGEST_BARE_GRAPH = 64 * 10**6

_METADATA_PROPS = onnx.ModelProto.DESCRIPTOR.fields_by_name["metadata_props"].number
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers


def read_metadata(model: Path) -> dict[str, str]:
    """Return the metadata properties of an ONNX file, skipping over its weights.

    `onnx.load` would read gigabytes for a few strings, so this walks the top level of the message only
    (https://protobuf.dev/programming-guides/encoding).

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no ONNX file.
    """
    properties = {}
    size = model.stat().st_size
    with model.open("rb") as file:
        while file.tell() < size:
            key = _varint(file)
            field, wire_type = key >> 3, key & 7
            if wire_type == _BYTES:
                length = _varint(file)
                if file.tell() + length > size:
                    raise ValueError(f"{model} is truncated")
                if field == _METADATA_PROPS:
                    entry = onnx.StringStringEntryProto.FromString(file.read(length))
                    properties[entry.key] = entry.value
                else:
                    file.seek(length, 1)
            elif wire_type == _VARINT:
                _varint(file)
            elif wire_type in (_FIXED64, _FIXED32):
                file.seek(8 if wire_type == _FIXED64 else 4, 1)
            else:
                raise ValueError(f"{model} is no ONNX file")
    return properties


def files_beside(model: Path) -> dict[str, int]:
    """Return the names of the files beside an ONNX file that hold its weights, and how many bytes each needs.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no ONNX file.
    """
    if model.stat().st_size > _LARGEST_BARE_GRAPH:
        return {}
    try:
        graph = onnx.load(model, load_external_data=False).graph
    except DecodeError as error:
        raise ValueError(f"{model} is no ONNX file") from error
    needed: dict[str, int] = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            where = ExternalDataInfo(tensor)
            end = (where.offset or 0) + (where.length or 0)
            needed[where.location] = max(end, needed.get(where.location, 0))
    return needed


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _varint(file: BinaryIO) -> int:
    value = shift = 0
    while byte := file.read(1):
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
    raise ValueError("the file ends inside a number")
