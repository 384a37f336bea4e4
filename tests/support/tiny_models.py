"""ONNX models of a few nodes, for tests of what surrounds a model; no PyTorch is needed."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CONFIG = """
name: "{name}"
backend: "onnxruntime"
max_batch_size: 8
input [
  {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }},
  {{ name: "index" data_type: TYPE_INT64 dims: [ 1 ] }}
]
output [
  {{ name: "doubled" data_type: TYPE_FP32 dims: [ 4 ] }},
  {{ name: "picked" data_type: TYPE_FP32 dims: [ 1 ] }},
  {{ name: "batch" data_type: TYPE_INT64 dims: [ 1 ] }}
]
instance_group [ {{ count: 1 }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {delay}
  default_queue_policy {{
    max_queue_size: 16 timeout_action: REJECT default_timeout_microseconds: {timeout} allow_timeout_override: true
  }}
}}
parameters {{ key: "nice" value {{ string_value: "{nice}" }} }}
parameters {{ key: "requests_per_cpu_run" value {{ string_value: "{at_once}" }} }}
parameters {{ key: "cpu_runs_side_by_side" value {{ string_value: "{side_by_side}" }} }}
version_policy {{ latest {{ num_versions: 2 }} }}
model_warmup [ {{
  name: "zeros"
  batch_size: 1
  inputs {{ key: "x" value {{ data_type: TYPE_FP32 dims: [ 4 ] zero_data: true }} }}
  inputs {{ key: "index" value {{ data_type: TYPE_INT64 dims: [ 1 ] zero_data: true }} }}
}} ]
"""


def tiny_graph(factor=2.0, metadata=None):
    """Return a model of x [B,4] and index [B,1].

    Outputs: ``doubled`` = factor · x; ``picked`` = x[index], an error for an index beyond x; ``batch``, in each row
    the size of the batch in which it was computed.
    """
    constants = [
        numpy_helper.from_array(np.array([factor], np.float32), "factor"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["doubled"]),
        helper.make_node("GatherElements", ["x", "index"], ["picked"], axis=1),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["rows"]),
        helper.make_node("Concat", ["rows", "one"], ["column"], axis=0),
        helper.make_node("Expand", ["rows", "column"], ["batch"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 4]),
            helper.make_tensor_value_info("index", TensorProto.INT64, ["B", 1]),
        ],
        [
            helper.make_tensor_value_info("doubled", TensorProto.FLOAT, ["B", 4]),
            helper.make_tensor_value_info("picked", TensorProto.FLOAT, ["B", 1]),
            helper.make_tensor_value_info("batch", TensorProto.INT64, ["B", 1]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    return model


def write_version(
    repository: Path,
    name: str,
    version: int,
    *,
    delay=0,
    timeout=0,
    nice=0,
    at_once=100,
    side_by_side="false",
    factor=2.0,
    metadata=None,
) -> Path:
    """Write a version of a tiny model, and its configuration; return the path of its graph."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(
        CONFIG.format(name=name, delay=delay, timeout=timeout, nice=nice, at_once=at_once, side_by_side=side_by_side)
    )
    onnx.save(tiny_graph(factor, metadata), folder / "model.onnx")
    return folder / "model.onnx"
