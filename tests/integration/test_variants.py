"""Every official architecture, from a checkpoint to a click: minutes and gigabytes each, `pytest -m heavy`."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import skimage.data

from export.checkpoint import load
from imgr.repository.versions import list_versions
from models.seeded import ARCHITECTURES, write_checkpoint
from tests.integration.test_parity import assert_same
from tests.support.reference import Reference
from tests.support.service import Service
from tests.support.service_client import ServiceClient


@pytest.fixture
def folder(tmp_path):
    """A folder that leaves nothing: pytest would keep gigabytes of the last three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.heavy
@pytest.mark.triton
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", ["vit_b", "vit_l", "vit_h"])
def test_a_variant_is_exported_once_and_answers_clicks_as_sam_predictor_does(variant, folder, monkeypatch):
    checkpoint, repository = write_checkpoint(folder / "sam.pth", ARCHITECTURES[variant]), folder / "repository"
    arguments = [f"--checkpoint={checkpoint}", f"--model-repository={repository}"]
    subprocess.run([sys.executable, "-m", "imgr", "export", *arguments], check=True)
    before = list_versions(repository)
    assert [(version.variant, version.problem) for version in before] == [(variant, None)]
    beside = (repository / "sam_encoder" / "1" / "model.onnx.data").exists()
    assert beside == (variant == "vit_h"), "only ViT-H exceeds a protocol buffer"

    monkeypatch.setenv("SAM_CHECKPOINT_PATH", str(checkpoint))
    service = Service(repository, folder / "store", folder / "log", triton_timeout_seconds=300)
    try:
        service.wait_until_ready(300)
        assert list_versions(repository) == before
        image = np.ascontiguousarray(skimage.data.astronaut()[:400])
        client = ServiceClient(service.url)
        image_id = client.upload(image)
        client.wait_until_encoded(image_id, 300)
        prompts = [{"points": [(200.0, 120.0)], "labels": [1]}, {"box": [60.0, 20.0, 400.0, 390.0]}]
        answers = [client.masks(image_id, **prompt) for prompt in prompts]
    finally:
        service.stop()
    reference = Reference(load(checkpoint).sam)
    reference.look_at(image)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert_same(*answer, *reference.click(**prompt), str(prompt))
