import numpy as np
import onnx
import pytest

from export.precision.quantization import quantize
from export.verification import open_graph


@pytest.fixture(scope="module")
def quantized(exported, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    quantize(exported.graph("sam_encoder"), path)
    return path


def test_all_linear_layers_and_nothing_else_multiply_integers(quantized):
    graph = onnx.load(quantized).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    products = [weights[node.input[1]] for node in graph.node if node.op_type == "MatMulInteger"]
    # qkv, proj and two of the MLP in each of four blocks.
    assert sorted(tuple(w.dims) for w in products) == sorted(4 * [(64, 192), (64, 64), (64, 256), (256, 64)])
    assert {w.data_type for w in products} == {onnx.TensorProto.INT8}
    assert len([node for node in graph.node if node.op_type == "Conv"]) == 3


def test_only_standard_operators_are_used_and_nothing_is_left_beside(quantized):
    model = onnx.load(quantized)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]
    assert model.ir_version <= 10
    assert [path.name for path in quantized.parent.iterdir()] == ["model.onnx"]


def test_embeddings_are_nearly_those_of_full_precision(exported, quantized):
    image = {
        "image": np.random.default_rng(0).integers(0, 256, (2, 1024, 1024, 3), np.uint8),
        "image_size": np.array([[1024, 700], [5, 1024]], np.int32),
    }
    (expected, identity), (actual, same) = (
        open_graph(path).run(["image_embeddings", "identity"], image)
        for path in (exported.graph("sam_encoder"), quantized)
    )
    error = np.sqrt(np.mean((actual - expected) ** 2) / np.mean(expected**2))
    assert 0 < error < 0.05
    np.testing.assert_array_equal(identity, same)
