"""The whole pipeline against `SamPredictor` on the same checkpoint."""

import asyncio
import random

import httpx
import numpy as np
import pytest
import skimage.data
from PIL import Image

from export import ExportJob
from export.checkpoint import load
from export.networks.sam import VIT_B
from imgr.repository.publication import publish
from models.seeded import write_checkpoint
from tests.support.reference import Reference, iou
from tests.support.service import Service
from tests.support.service_client import ServiceClient, click_fields, png_pixels

pytestmark = pytest.mark.triton

SHAPES = {
    "1800×1200": (1200, 1800),
    "800×534": (534, 800),
    "portrait": (700, 420),
    "1×1": (1, 1),
    "1×2000": (2000, 1),
    "4200×2800": (2800, 4200),
}


def picture(height, width):
    return np.asarray(Image.fromarray(skimage.data.astronaut()).resize((width, height), Image.Resampling.BICUBIC))


def prompts(height, width):
    """Prompts of every padded length, boxes, and both."""
    rng = random.Random(height * 10_007 + width)

    def points(n):
        return {
            "points": [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(n)],
            "labels": [1] + [rng.randint(0, 1) for _ in range(n - 1)],
        }

    box = [width * 0.2, height * 0.1, width * 0.9, height * 0.7]
    return {
        "one point": points(1),
        "two points": points(2),
        "five points": points(5),
        "seventeen points": points(17),
        "box": {"box": box},
        "box and points": points(3) | {"box": box},
    }


@pytest.fixture(scope="module")
def reference(small_sam):
    return Reference(small_sam)


@pytest.fixture
def small(service, client, reference):
    """A service on the small model, a client and the reference for it."""
    return service, client, reference


@pytest.fixture(scope="module")
def vit_b(tmp_path_factory):
    """The same for a seeded random ViT-B."""
    folder = tmp_path_factory.mktemp("vit_b")
    checkpoint = write_checkpoint(folder / "vit_b.pth", VIT_B)
    publish(ExportJob(checkpoint), folder / "repository")
    service = Service(folder / "repository", folder / "store", folder / "log").wait_until_ready()
    yield service, ServiceClient(service.url), Reference(load(checkpoint).sam)
    service.stop()


def assert_same(masks, scores, expected_masks, expected_scores, what):
    np.testing.assert_allclose(scores, expected_scores, atol=1e-3, err_msg=what)
    for (
        mask,
        score,
    ) in zip(masks, scores, strict=True):
        # Candidates whose scores tie within the tolerance may come in either order.
        rivals = [e for e, s in zip(expected_masks, expected_scores, strict=True) if abs(s - score) <= 1e-3]
        assert max(iou(mask, rival) for rival in rivals) >= 0.999, what


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=pytest.mark.heavy) if shape == "4200×2800" else shape for shape in SHAPES]
)
def test_masks_and_scores_equal_sam_predictor(client, reference, shape):
    assert_parity(client, reference, shape)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "shape", [shape if shape == "800×534" else pytest.param(shape, marks=pytest.mark.heavy) for shape in SHAPES]
)
def test_masks_and_scores_of_vit_b_equal_sam_predictor(vit_b, shape):
    _, client, reference = vit_b
    assert_parity(client, reference, shape)


def assert_parity(client, reference, shape):
    image = picture(*SHAPES[shape])
    reference.look_at(image)
    image_id = client.upload(image)
    for name, prompt in prompts(*SHAPES[shape]).items():
        assert_same(*client.masks(image_id, **prompt), *reference.click(**prompt), f"{shape}, {name}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", ["small", pytest.param("vit_b", marks=pytest.mark.heavy)])
def test_masks_are_the_same_while_32_other_requests_share_the_batches(model, request):
    service, client, reference = request.getfixturevalue(model)
    image = picture(534, 800)
    reference.look_at(image)
    image_id = client.upload(image)
    others = [client.upload(picture(300 + 10 * i, 400 - 9 * i)) for i in range(8)]
    for other in [image_id, *others]:
        client.wait_until_encoded(other, 300)
    rng = random.Random(0)

    async def noise(http):
        while True:
            n = rng.choice([1, 2, 3, 7, 11, 20])
            points = [(rng.uniform(0, 300), rng.uniform(0, 300)) for _ in range(n)]
            fields = click_fields(rng.choice(others), points, [1] * n)
            answer = await http.post("/api/run", data=fields)
            assert answer.status_code == 200, answer.text

    async def check():
        async with httpx.AsyncClient(
            base_url=service.url, timeout=120, limits=httpx.Limits(max_connections=None)
        ) as http:
            background = [asyncio.create_task(noise(http)) for _ in range(32)]
            for name, prompt in prompts(534, 800).items():
                answer = await http.post("/api/run", data=click_fields(image_id, **prompt, feather_method="none"))
                results = answer.json()["results"]
                masks = [png_pixels(r["mask"]) > 127 for r in results]
                assert_same(masks, np.array([r["score"] for r in results]), *reference.click(**prompt), name)
            assert not any(task.done() for task in background)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    before = (
        service.triton_counter("nv_inference_exec_count", "sam_decoder"),
        service.triton_counter("nv_inference_count", "sam_decoder"),
    )
    asyncio.run(check())
    executions = service.triton_counter("nv_inference_exec_count", "sam_decoder") - before[0]
    requests = service.triton_counter("nv_inference_count", "sam_decoder") - before[1]
    assert executions < 0.9 * requests, "the prompts were hardly batched, so this test showed nothing"


def test_a_mask_prompt_equals_sam_predictor_with_the_same_logits(client, reference):
    from frontend_api.images.prompts import mask_prompt_logits

    image = picture(534, 800)
    reference.look_at(image)
    mask = np.zeros((534, 800), np.uint8)
    mask[100:400, 200:600] = 255
    image_id, mask_id = client.upload(image), client.upload(mask, image_type="mask")
    logits = mask_prompt_logits(mask, 534, 800)[None]
    for prompt in ({}, {"points": [(300, 200)], "labels": [1]}, {"box": [150, 80, 650, 450]}):
        assert_same(
            *client.masks(image_id, mask_id=mask_id, **prompt),
            *reference.click(mask_input=logits, **prompt),
            f"mask and {list(prompt)}",
        )
