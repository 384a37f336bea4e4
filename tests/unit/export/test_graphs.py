import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

import export.graphs
from export.checkpoint import load
from export.errors import IncompatibleGraph
from export.graphs import decoder_graph, refuse_incompatible, save, store_exact_halves
from export.metadata import read_metadata
from export.networks.decoder import PADDING, Decoder
from export.verification import open_graph
from models.seeded import SMALL, random_sam, write_checkpoint

INTERFACE = {
    "sam_encoder": (
        [("image", "tensor(uint8)", ["batch", 1024, 1024, 3]), ("image_size", "tensor(int32)", ["batch", 2])],
        [
            ("image_embeddings", "tensor(float)", ["batch", 256, 64, 64]),
            ("identity", "tensor(uint8)", ["batch", 64]),
        ],
    ),
    "sam_decoder": (
        [
            ("image_embeddings", "tensor(float)", ["batch", 256, 64, 64]),
            ("point_coords", "tensor(float)", ["batch", "points", 2]),
            ("point_labels", "tensor(int32)", ["batch", "points"]),
            ("mask_input", "tensor(float)", ["batch", 1, 256, 256]),
            ("has_mask_input", "tensor(float)", ["batch", 1]),
        ],
        [
            ("low_res_masks", "tensor(float)", ["batch", 3, 256, 256]),
            ("iou_predictions", "tensor(float)", ["batch", 3]),
            ("identity", "tensor(uint8)", ["batch", 64]),
        ],
    ),
}
PROMPT = {
    "image_embeddings": np.random.default_rng(0).standard_normal((1, 256, 64, 64), np.float32),
    "point_coords": np.array([[[300, 400], [0, 0]]], np.float32),
    "point_labels": np.array([[1, -1]], np.int32),
    "mask_input": np.zeros((1, 1, 256, 256), np.float32),
    "has_mask_input": np.zeros((1, 1), np.float32),
}


@pytest.mark.parametrize("model", INTERFACE)
def test_a_graph_has_the_interface_that_the_model_configuration_states(exported, model):
    session = open_graph(exported.graph(model))
    inputs, outputs = INTERFACE[model]
    assert [(port.name, port.type, port.shape) for port in session.get_inputs()] == inputs
    assert [(port.name, port.type, port.shape) for port in session.get_outputs()] == outputs


@pytest.mark.parametrize("model", INTERFACE)
def test_a_graph_is_readable_by_older_onnx_runtimes(exported, model):
    graph = onnx.load(exported.graph(model))
    assert graph.ir_version <= 10
    assert [(opset.domain, opset.version <= 20) for opset in graph.opset_import] == [("", True)]
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    assert not graph.functions


@pytest.mark.parametrize("model", INTERFACE)
def test_a_graph_tells_where_it_comes_from_but_no_path_of_this_machine(exported, model):
    metadata = read_metadata(exported.graph(model))
    assert metadata["variant"] == "vit_64x4"
    assert metadata["precision"] == "fp32"
    assert metadata["identity"] == exported.publication.identity
    assert metadata["checkpoint"] == exported.checkpoint.name
    assert metadata["exported_at"].endswith("+00:00")
    content = exported.graph(model).read_bytes()
    assert b"site-packages" not in content
    assert b"encoder.py" not in content
    assert b"decoder.py" not in content


def test_an_encoder_answers_each_image_of_a_batch_as_if_it_were_alone(exported):
    session = open_graph(exported.graph("sam_encoder"))
    images = np.random.default_rng(0).integers(0, 256, (3, 1024, 1024, 3), np.uint8)
    sizes = np.array([[1024, 768], [1, 1024], [500, 1024]], np.int32)
    together, identities = session.run(None, {"image": images, "image_size": sizes})
    assert identities.shape == (3, 64)
    for row in range(3):
        alone, _ = session.run(None, {"image": images[row : row + 1], "image_size": sizes[row : row + 1]})
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-4, atol=1e-4)


def decoder_inputs(count, padding, *, seed=0, mask=False):
    """A request of `count` points and as much padding, before, between and after them; its coordinates are NaN."""
    rng = np.random.default_rng(seed)
    places = np.sort(rng.permutation(count + padding)[:count])
    coords = np.full((1, count + padding, 2), np.nan, np.float32)
    labels = np.full((1, count + padding), PADDING, np.int32)
    coords[0, places], labels[0, places] = rng.random((count, 2), np.float32) * 1024, rng.integers(0, 2, count)
    logits = 8 * rng.standard_normal((1, 1, 256, 256)) if mask else np.full((1, 1, 256, 256), np.nan)
    return {
        "image_embeddings": rng.standard_normal((1, 256, 64, 64), np.float32),
        "point_coords": coords,
        "point_labels": labels,
        "mask_input": logits.astype(np.float32),
        "has_mask_input": np.full((1, 1), mask, np.float32),
    }


@pytest.mark.parametrize(("count", "padding"), [(1, 0), (1, 3), (0, 1), (12, 4), (13, 0), (33, 31)])
def test_a_decoder_answers_alike_alone_padded_and_in_a_batch_with_and_without_masks(
    exported, small_sam, count, padding
):
    session, network = open_graph(exported.graph("sam_decoder")), Decoder(small_sam, "", branching=False).eval()
    requests = [decoder_inputs(count, padding, seed=seed, mask=seed == 1) for seed in range(2)]
    requests.append(decoder_inputs(count + padding, 0, seed=2))
    together = session.run(None, {name: np.concatenate([request[name] for request in requests]) for name in PROMPT})
    for row, request in enumerate(requests):
        alone = session.run(None, request)
        with torch.inference_mode():
            expected = network(**{name: torch.from_numpy(value) for name, value in request.items()})
        for output in range(2):
            np.testing.assert_allclose(alone[output][0], expected[output][0], rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(together[output][row], expected[output][0], rtol=1e-3, atol=1e-4)


def test_a_decoder_runs_what_a_prompt_needs(exported):
    """Else the graph would be as slow as one without branches."""
    graph = onnx.load(exported.graph("sam_decoder")).graph
    masks, attention = (node for node in graph.node if node.op_type == "If")
    assert {node.op_type for node in masks.attribute[1].g.node} == {"Add"}
    products = [sum(node.op_type == "MatMul" for node in branch.g.node) for branch in attention.attribute]
    assert len(set(products)) == 2
    for branch in (*masks.attribute, *attention.attribute):
        assert not branch.g.initializer  # both branches take the weights from outside


def incompatible(*, opset=20, ir_version=10, domain=""):
    node = ir.node("Relu", [ir.val("x", ir.DataType.FLOAT, [1])], domain=domain)
    graph = ir.Graph(node.inputs, node.outputs, nodes=[node], opset_imports={"": opset})
    return ir.Model(graph, ir_version=ir_version)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ({"opset": 21}, "uses opset 21; at most 20"),
        ({"ir_version": 11}, "IR version 11; at most 10"),
        ({"domain": "com.microsoft"}, r"outside the ONNX standard: com\.microsoft\.Relu"),
    ],
)
def test_a_graph_that_older_onnx_runtimes_cannot_read_is_refused(fault, complaint):
    refuse_incompatible(incompatible())
    with pytest.raises(IncompatibleGraph, match=complaint):
        refuse_incompatible(incompatible(**fault))


def test_weights_beyond_a_protocol_buffer_lie_beside_the_graph(small_sam, tmp_path, monkeypatch, exported):
    monkeypatch.setattr(export.graphs, "EXTERNAL_DATA_ABOVE", 1_000_000)
    save(decoder_graph(small_sam, exported.publication.identity, {}), tmp_path / "model.onnx")
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert (tmp_path / "model.onnx").stat().st_size < 1_000_000
    beside = open_graph(tmp_path / "model.onnx").run(None, PROMPT)
    inside = open_graph(exported.graph("sam_decoder")).run(None, PROMPT)
    np.testing.assert_array_equal(beside[0], inside[0])


def test_weights_that_fit_half_precision_are_stored_so_and_change_nothing(tmp_path):
    half, full = tmp_path / "half.pth", write_checkpoint(tmp_path / "full.pth")
    torch.save(random_sam(SMALL).half().state_dict(), half)
    sam = load(half).sam
    graph = decoder_graph(sam, "identity", {})
    store_exact_halves(graph)
    save(graph, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size < 0.55 * full.stat().st_size
    masks, scores, _ = open_graph(tmp_path / "model.onnx").run(None, PROMPT)
    with torch.inference_mode():
        expected = Decoder(sam, "identity")(**{name: torch.from_numpy(value) for name, value in PROMPT.items()})
    np.testing.assert_allclose(masks, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores, expected[1], rtol=1e-4, atol=1e-5)
