"""The sliding window: presence once per volume, flips, volumes smaller than the window."""

import pytest
import torch
from torch import Tensor

from medmiss.inference import ModalitySlidingWindowInferer


def presence_as_logits(window: Tensor, present: Tensor) -> Tensor:
    """A network whose three outputs say which of the first three modalities it was told of."""
    return present[:, :3, None, None, None].float().repeat(1, 1, *window.shape[2:])


def ramp(window: Tensor, present: Tensor) -> Tensor:
    """A network that is not the same for flipped windows."""
    return window[:, :3] * torch.linspace(-1, 1, window.shape[2])[:, None, None]


def test_a_window_without_content_does_not_change_the_presence():
    volume = torch.zeros(1, 4, 32, 8, 8)
    volume[:, 0, :4] = 1.0  # FLAIR is empty in most windows
    volume[:, 2] = 1.0
    inferer = ModalitySlidingWindowInferer(roi_size=[8, 8, 8], sw_batch_size=3, overlap=0.5)
    logits = inferer(volume, presence_as_logits)
    assert torch.equal(logits[0, :, :, 0, 0], torch.tensor([1.0, 0.0, 1.0])[:, None].expand(3, 32))


def test_what_is_given_wins_over_what_the_volume_holds():
    inferer = ModalitySlidingWindowInferer(roi_size=[8, 8, 8])
    present = torch.tensor([[False, True, False, False]])
    logits = inferer(torch.ones(1, 4, 12, 8, 8), presence_as_logits, present=present)
    assert logits.amax((2, 3, 4)).tolist() == [[0.0, 1.0, 0.0]]


def test_every_volume_of_a_batch_has_its_own_presence():
    inferer = ModalitySlidingWindowInferer(roi_size=[8, 8, 8], sw_batch_size=4)
    present = torch.tensor([[True, False, False, True], [False, True, True, False]])
    logits = inferer(torch.ones(2, 4, 12, 8, 8), presence_as_logits, present=present)
    assert torch.equal(logits[:, :, 5, 5, 5], present[:, :3].float())


def test_a_volume_smaller_than_the_window_keeps_its_shape():
    volume = torch.rand(1, 4, 5, 20, 7)
    logits = ModalitySlidingWindowInferer(roi_size=[16, 16, 16], mode="gaussian")(volume, lambda x, _: x[:, :3].clone())
    torch.testing.assert_close(logits, volume[:, :3])


def test_tta_is_the_mean_probability_of_the_volume_and_its_mirror_image():
    volume = torch.randn(1, 4, 8, 8, 8)
    present = torch.ones(1, 4, dtype=torch.bool)
    plain = ModalitySlidingWindowInferer(roi_size=[8, 8, 8])
    each = [plain(volume, ramp, present), plain(volume.flip(2), ramp, present).flip(2)]
    logits = ModalitySlidingWindowInferer(roi_size=[8, 8, 8], tta=True)(volume, ramp, present)
    torch.testing.assert_close(logits.sigmoid(), torch.stack(each).sigmoid().mean(0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits, plain(volume, ramp, present), atol=1e-2)


def test_half_precision_windows_are_blended_in_float32():
    def half(window: Tensor, present: Tensor) -> Tensor:
        return window[:, :3].bfloat16()

    logits = ModalitySlidingWindowInferer(roi_size=[8, 8, 8])(torch.ones(1, 4, 12, 12, 12), half)
    assert logits.dtype == torch.float32


def test_nothing_present_is_an_error():
    with pytest.raises(ValueError, match="without any modality"):
        ModalitySlidingWindowInferer(roi_size=[8, 8, 8])(torch.zeros(1, 4, 8, 8, 8), presence_as_logits)
