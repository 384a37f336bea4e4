import numpy as np
import onnx
import onnx_ir as ir
import pytest

from export.graphs import decoder_graph, save
from export.precision.half import halve
from export.verification import mask_iou, open_graph
from tests.unit.export.test_graphs import INTERFACE, PROMPT


@pytest.fixture(scope="module")
def halved(exported, small_sam, tmp_path_factory):
    folder = tmp_path_factory.mktemp("half")
    save(decoder_graph(small_sam, exported.publication.identity, {}, branching=False), folder / "full_decoder.onnx")
    halve(folder / "full_decoder.onnx", folder / "sam_decoder.onnx")
    halve(exported.graph("sam_encoder"), folder / "sam_encoder.onnx")
    return folder


@pytest.mark.parametrize("model", INTERFACE)
def test_inputs_and_outputs_stay_as_they_are(halved, model):
    session = open_graph(halved / f"{model}.onnx")
    inputs, outputs = INTERFACE[model]
    assert [(port.name, port.type, port.shape) for port in session.get_inputs()] == inputs
    assert [(port.name, port.type, port.shape) for port in session.get_outputs()] == outputs


@pytest.mark.parametrize("model", INTERFACE)
def test_the_graph_is_half_as_large(exported, halved, model):
    assert (halved / f"{model}.onnx").stat().st_size < 0.6 * exported.graph(model).stat().st_size


@pytest.mark.parametrize("model", INTERFACE)
def test_matrices_are_multiplied_in_half_and_normalised_in_full_precision(halved, model):
    types = {node.op_type: set() for node in ir.load(halved / f"{model}.onnx").graph}
    for node in ir.load(halved / f"{model}.onnx").graph:
        types[node.op_type] |= {value.dtype for value in node.outputs}
    assert types["LayerNormalization"] == {ir.DataType.FLOAT}
    assert types["Softmax"] == {ir.DataType.FLOAT16}
    assert ir.DataType.FLOAT16 in types["MatMul"]


def test_coordinates_are_not_rounded_on_their_way_to_the_sines(halved):
    """Half precision knows no number between 1000 and 1000.5."""
    graph = ir.load(halved / "sam_decoder.onnx").graph
    pending = [node for node in graph if node.op_type in ("Sin", "Cos")]
    assert pending
    while pending:
        node = pending.pop()
        assert ir.DataType.FLOAT16 not in {value.dtype for value in node.outputs}
        pending += node.predecessors()


def test_masks_and_scores_are_those_of_full_precision(exported, halved):
    prompt = PROMPT | {"mask_input": np.random.default_rng(1).standard_normal((1, 1, 256, 256), np.float32)}
    for has_mask in (0, 1):
        prompt["has_mask_input"] = np.full((1, 1), has_mask, np.float32)
        expected, actual = (
            open_graph(path).run(None, prompt) for path in (exported.graph("sam_decoder"), halved / "sam_decoder.onnx")
        )
        assert mask_iou(expected[0][0], actual[0][0]) > 0.98
        np.testing.assert_allclose(actual[1], expected[1], atol=0.01)
        np.testing.assert_array_equal(actual[2], expected[2])


def test_embeddings_are_those_of_full_precision(exported, halved):
    image = {
        "image": np.random.default_rng(0).integers(0, 256, (1, 1024, 1024, 3), np.uint8),
        "image_size": np.array([[1024, 700]], np.int32),
    }
    expected, actual = (
        open_graph(path).run(["image_embeddings"], image)[0]
        for path in (exported.graph("sam_encoder"), halved / "sam_encoder.onnx")
    )
    np.testing.assert_allclose(actual, expected, atol=0.02 * np.abs(expected).max())


def test_what_a_graph_says_about_itself_survives(exported, halved):
    before, after = (onnx.load(p) for p in (exported.graph("sam_encoder"), halved / "sam_encoder.onnx"))
    assert {p.key: p.value for p in after.metadata_props} == {p.key: p.value for p in before.metadata_props}
