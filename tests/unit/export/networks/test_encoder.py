import pytest
import torch

from export.networks.encoder import Encoder


@pytest.fixture(scope="module")
def encoder(small_sam):
    return Encoder(small_sam, "vit_64x4/fp32/0123456789abcdef").eval()


@pytest.fixture(scope="module")
def image():
    return torch.randint(0, 256, (1, 1024, 1024, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(("height", "width"), [(1024, 1024), (683, 1024), (1024, 1)])
def test_embeddings_are_those_of_segment_anything(encoder, small_sam, image, height, width):
    with torch.inference_mode():
        resized = image[:, :height, :width].permute(0, 3, 1, 2).float()
        expected = small_sam.image_encoder(small_sam.preprocess(resized))
        actual, _ = encoder(image, torch.tensor([[height, width]], dtype=torch.int32))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_the_identity_is_answered_for_every_image(encoder, image):
    with torch.inference_mode():
        _, identity = encoder(image.expand(2, -1, -1, -1), torch.tensor([[8, 8], [9, 9]], dtype=torch.int32))
    assert identity.shape == (2, 64)
    assert [bytes(code.tolist()).rstrip(b"\0") for code in identity] == [b"vit_64x4/fp32/0123456789abcdef"] * 2


def test_an_identity_that_does_not_fit_is_refused(small_sam):
    with pytest.raises(ValueError, match="exceeds 64 bytes"):
        Encoder(small_sam, "x" * 65)
