"""The exported graphs against `segment_anything.SamPredictor`, from photo to masks; of vit_t, MobileSAM's."""

import warnings

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.utils.transforms import ResizeLongestSide

from export.graphs import decoder_graph, encoder_graph, save
from export.verification import open_graph
from models.seeded import VIT_B, VIT_T, random_sam
from tests.support.reference import iou

FRAME = ResizeLongestSide(1024)


class Graphs:
    """Both graphs behind SamPredictor's questions, with as much padding as a service would add."""

    def __init__(self, encoder, decoder):
        self.encoder = encoder
        self.decoder = decoder

    def set_image(self, image):
        self.size = image.shape[:2]
        resized = FRAME.apply_image(image)
        self.resized = resized.shape[:2]
        frame = np.full((1, 1024, 1024, 3), 77, np.uint8)  # the graph must not look outside of the photo
        frame[0, : self.resized[0], : self.resized[1]] = resized
        size = np.array([self.resized], np.int32)
        self.embedding = self.encoder.run(["image_embeddings"], {"image": frame, "image_size": size})[0]

    def predict(self, points=(), labels=(), box=None, mask=None):
        coords = [*FRAME.apply_coords(np.array(points, np.float64).reshape(-1, 2), self.size)]
        kinds = list(labels)
        if box is not None:
            coords += [*FRAME.apply_coords(np.array(box, np.float64).reshape(2, 2), self.size)]
            kinds += [2, 3]
        elif kinds:
            coords.append((0, 0))
            kinds.append(-1)
        padding = 32 - len(kinds)
        logits, scores, _ = self.decoder.run(
            None,
            {
                "image_embeddings": self.embedding,
                "point_coords": np.array([*coords, *([(0, 0)] * padding)], np.float32)[None],
                "point_labels": np.array([kinds + [-2] * padding], np.int32),
                "mask_input": np.zeros((1, 1, 256, 256), np.float32) if mask is None else mask[None],
                "has_mask_input": np.array([[mask is not None]], np.float32),
            },
        )
        upsampled = torch.nn.functional.interpolate(torch.from_numpy(logits), (1024, 1024), mode="bilinear")
        upsampled = upsampled[..., : self.resized[0], : self.resized[1]]
        masks = torch.nn.functional.interpolate(upsampled, self.size, mode="bilinear")[0] > 0
        return masks.numpy(), scores[0], logits[0]


def random_points(count, size, seed=0):
    generator = np.random.default_rng(seed)
    points = generator.random((count, 2)) * (size[1], size[0])
    return {"points": points, "labels": [n % 2 for n in range(1, count + 1)]}


def questions(size):
    box = np.array([0.2, 0.3, 0.75, 0.8]) * (size[1], size[0], size[1], size[0])
    mask = np.random.default_rng(5).standard_normal((1, 256, 256)).astype(np.float32) * 6
    yield from (random_points(count, size) for count in (1, 2, 5, 17))
    yield {"box": box}
    yield {"box": box, **random_points(2, size)}
    yield {"mask": mask}
    yield {"mask": mask, **random_points(1, size)}
    yield {"mask": mask, "box": box}


def assert_parity(graphs, predictor, image):
    predictor.set_image(image)
    graphs.set_image(image)
    for question in questions(image.shape[:2]):
        masks, scores, _ = graphs.predict(**question)
        expected, expected_scores, _ = predictor.predict(
            point_coords=question.get("points"),
            point_labels=np.array(question["labels"]) if "labels" in question else None,
            box=question.get("box"),
            mask_input=question.get("mask"),
        )
        assert 0 < expected.mean() < 1 or image.size <= 3, "masks of everything or nothing would prove nothing"
        assert min(iou(one, other) for one, other in zip(masks, expected, strict=True)) >= 0.999
        np.testing.assert_allclose(scores, expected_scores, atol=1e-3)


@pytest.fixture(scope="module")
def predictor(small_sam):
    return SamPredictor(small_sam)


@pytest.fixture(scope="module")
def graphs(exported):
    return Graphs(open_graph(exported.graph("sam_encoder")), open_graph(exported.graph("sam_decoder")))


@pytest.mark.parametrize("crop", [np.s_[:], np.s_[:, :300], np.s_[100:350], np.s_[:1, :1], np.s_[:1]])
def test_the_small_models_masks_are_those_of_sampredictor(graphs, predictor, astronaut, crop):
    assert_parity(graphs, predictor, np.ascontiguousarray(astronaut[crop]))


@pytest.mark.heavy  # the service's own parity test asks ViT-B as well
def test_vit_bs_masks_are_those_of_sampredictor(astronaut, tmp_path):
    sam = random_sam(VIT_B)
    save(encoder_graph(sam, "identity", {}), tmp_path / "encoder.onnx")
    save(decoder_graph(sam, "identity", {}), tmp_path / "decoder.onnx")
    graphs = Graphs(open_graph(tmp_path / "encoder.onnx"), open_graph(tmp_path / "decoder.onnx"))
    assert_parity(graphs, SamPredictor(sam), astronaut)


@pytest.fixture(scope="module")
def vit_t():
    """A random vit_t, and the predictor of MobileSAM's own code with its weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It imports timm's layers by their old names.
        import mobile_sam
    sam = random_sam(VIT_T)
    reference = mobile_sam.sam_model_registry["vit_t"]()
    missing, unexpected = reference.load_state_dict(sam.state_dict(), strict=False)
    assert unexpected == []
    assert {name.split(".")[1] for name in missing} == {"norm_head", "head"}
    reference.eval()  # again: only then it takes up the attention biases that were loaded
    return sam, mobile_sam.SamPredictor(reference)


def test_vit_ts_embeddings_are_those_of_mobilesams_sampredictor(vit_t, graphs, astronaut, tmp_path):
    """Its decoder is everybody's."""
    sam, predictor = vit_t
    save(encoder_graph(sam, "identity", {}), tmp_path / "encoder.onnx")
    graphs = Graphs(open_graph(tmp_path / "encoder.onnx"), graphs.decoder)
    graphs.set_image(astronaut)
    predictor.set_image(astronaut)
    np.testing.assert_allclose(graphs.embedding, predictor.features, rtol=1e-3, atol=1e-3)


@pytest.mark.heavy  # every network's decoder is exported alike
def test_vit_ts_masks_are_those_of_mobilesams_sampredictor(vit_t, astronaut, tmp_path):
    sam, predictor = vit_t
    save(encoder_graph(sam, "identity", {}), tmp_path / "encoder.onnx")
    save(decoder_graph(sam, "identity", {}), tmp_path / "decoder.onnx")
    graphs = Graphs(open_graph(tmp_path / "encoder.onnx"), open_graph(tmp_path / "decoder.onnx"))
    assert_parity(graphs, predictor, astronaut)
