"""Augmentation: geometry common to all, intensities each alone, and all of it from one random state."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from medmiss.transforms import Augmentation, CropForegroundd, DropModalitiesd, NormalizeModalitiesd

SHAPE = (40, 44, 36)
STRONG: dict[str, Any] = {"affine_probability": 1.0, "intensity_probability": 1.0}
GEOMETRY_ONLY: dict[str, Any] = {"intensity_probability": 0.0, "flip_probability": 0.0, "tumour_probability": 1.0}


def item(available=(True, True, True, True), shape=SHAPE):
    generator = torch.Generator().manual_seed(0)
    axes = [torch.linspace(-1, 1, size) for size in shape]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0)
    foreground = (radius < 0.8).expand(4, *shape).clone()
    image = torch.randn((4, *shape), generator=generator) * foreground
    for channel, flag in enumerate(available):
        if not flag:
            image[channel], foreground[channel] = 0, False
    label = torch.stack([radius < limit for limit in (0.02, 0.06, 0.15)]).float()
    return {"image": image, "label": label, "foreground": foreground, "available": torch.tensor(available)}


def augmented(data, seed=0, crop_size=24, **settings):
    return Augmentation(crop_size, **settings).set_random_state(seed)(data)


def test_shapes_types_and_an_untouched_input():
    data = item()
    before = {key: value.clone() for key, value in data.items()}
    result = augmented(data, crop_size=(24, 16, 20), **STRONG)
    assert result["image"].shape == (4, 24, 16, 20) and result["label"].shape == (3, 24, 16, 20)
    assert result["foreground"].shape == (4, 24, 16, 20) and result["foreground"].dtype == torch.bool
    assert all(type(result[key]) is torch.Tensor for key in data)
    assert set(result["label"].unique().tolist()) <= {0, 1}
    assert all(torch.equal(data[key], before[key]) for key in before)


def test_same_state_same_result_whatever_the_global_state():
    np.random.seed(1)
    torch.manual_seed(1)
    first = augmented(item(), 7, **STRONG)
    np.random.seed(2)
    torch.manual_seed(2)
    second = augmented(item(), 7, **STRONG)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["image"], augmented(item(), 8, **STRONG)["image"])
    transform = Augmentation(24).set_random_state(7)
    assert not torch.equal(transform(item())["image"], transform(item())["image"])


def test_a_composed_pipeline_passes_its_state_on():
    chain = Compose([NormalizeModalitiesd(), CropForegroundd(), DropModalitiesd(), Augmentation(24, **STRONG)])
    first, second = (chain.set_random_state(3)(item()) for _ in range(2))
    assert torch.equal(first["image"], second["image"]) and torch.equal(first["present"], second["present"])


@pytest.mark.parametrize("seed", range(4))
def test_an_absent_modality_has_no_influence(seed):
    available = (True, False, True, False)
    kept, absent = [0, 2], [1, 3]
    expected = augmented(item(available), seed, **STRONG)
    data = item(available)
    data["image"][absent] = float("nan")
    result = augmented(data, seed, **STRONG)
    assert torch.equal(result["image"][kept], expected["image"][kept])
    assert torch.equal(result["label"], expected["label"])
    assert (expected["image"][absent] == 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_background_stays_exactly_zero(seed):
    settings: dict[str, Any] = {"affine_probability": 0.0, "tumour_probability": 0.0}
    plain = augmented(item(), seed, 32, intensity_probability=0.0, **settings)["image"]
    # the first draws are geometry's, so that both crops are the same
    changed = augmented(item(), seed, 32, intensity_probability=1.0, **settings)["image"]
    assert (plain == 0).any()
    assert (changed[plain == 0] == 0).all()
    assert (changed[plain != 0] != plain[plain != 0]).all()


def test_modalities_change_independently():
    data = item()
    data["image"] = data["image"][:1].repeat(4, 1, 1, 1)
    same = augmented(data, intensity_probability=0.0, affine_probability=1.0)["image"]
    assert torch.equal(same[0], same[1])
    result = augmented(data, noise=0.0, intensity_probability=1.0)["image"]
    assert not any(torch.equal(result[0], result[channel]) for channel in (1, 2, 3))


@pytest.mark.parametrize("affine_probability", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_image_label_and_foreground_move_together(seed, affine_probability):
    data = item()
    data["image"] = data["label"][[2, 2, 2, 2]].clone()
    data["foreground"] = data["image"] > 0
    settings = {"intensity_probability": 0.0, "affine_probability": affine_probability, "rotation": 40.0}
    result = augmented(data, seed, 24, **settings)
    image, label = result["image"][0] > 0.5, result["label"][2] > 0
    assert label.any()
    assert (image != label).sum() < 0.1 * label.sum()  # linear against nearest, along the surface
    assert torch.equal(result["foreground"][0], label)


def test_zoom_enlarges_and_rotation_keeps_the_volume():
    data = item()
    size = data["label"][2].sum()
    zoomed = augmented(data, 0, 40, affine_probability=1, rotation=0, zoom=(1.5, 1.5), **GEOMETRY_ONLY)["label"][2]
    assert zoomed.sum() / size == pytest.approx(1.5**3, rel=0.05)
    turned = augmented(data, 0, 32, affine_probability=1, rotation=45, zoom=(1, 1), **GEOMETRY_ONLY)["label"][2]
    assert turned.sum() / size == pytest.approx(1, rel=0.05)


def test_an_identity_affine_is_the_plain_crop():
    crops = [
        augmented(item(), 5, 24, affine_probability=probability, rotation=0, zoom=(1, 1), **GEOMETRY_ONLY)
        for probability in (0.0, 1.0)
    ]
    assert torch.allclose(crops[0]["image"], crops[1]["image"], atol=1e-4)
    assert torch.equal(crops[0]["label"], crops[1]["label"])


def test_a_turned_crop_has_no_empty_corners_inside_the_volume():
    data = item(shape=(64, 64, 64))
    data["image"] = torch.ones(4, 64, 64, 64)
    settings = {"affine_probability": 1.0, "rotation": 30.0, "zoom": (1.0, 1.0), **GEOMETRY_ONLY}
    assert all(augmented(data, seed, 24, **settings)["image"].min() > 0.999 for seed in range(4))


def test_tumour_crops_hold_tumour_and_others_lie_anywhere():
    data = item()
    data["label"][:] = 0
    data["label"][2, 3, 40, 5] = 1
    biased = [augmented(data, seed, 12, tumour_probability=1.0)["label"].sum() for seed in range(10)]
    assert min(biased) > 0
    unbiased = [augmented(data, seed, 12, tumour_probability=0.0)["label"].sum() for seed in range(30)]
    assert sum(hit == 0 for hit in unbiased) > 15
    data["label"][:] = 0
    assert augmented(data, 0, 12, tumour_probability=1.0)["image"].shape == (4, 12, 12, 12)


@pytest.mark.parametrize("affine_probability", [0.0, 1.0])
def test_a_volume_smaller_than_the_crop_is_padded_with_zeros(affine_probability):
    data = item(shape=(10, 16, 13))
    settings = {"affine_probability": affine_probability, "rotation": 0.0, "zoom": (1.0, 1.0), **GEOMETRY_ONLY}
    result = augmented(data, 0, 16, **settings)
    assert result["image"].shape == (4, 16, 16, 16)
    assert (result["image"][:, [0, 1, 2, 13, 14, 15]] == 0).all()
    assert result["label"].sum(dim=(1, 2, 3)).gt(0).all()
    assert torch.allclose(result["image"][:, 3:13, :, 2:15], data["image"], atol=1e-4)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="crop_size"):
        Augmentation(0)
    with pytest.raises(ValueError, match="zoom"):
        Augmentation(8, zoom=(1.2, 0.8))
    with pytest.raises(ValueError, match="probabilities"):
        Augmentation(8, flip_probability=1.5)


def test_each_axis_may_have_its_own_chance_of_a_flip():
    label = torch.zeros(3, 8, 8, 8)
    label[:, 1, 2, 3] = 1
    data = {"image": torch.zeros(4, 8, 8, 8), "label": label, "available": torch.ones(4, dtype=torch.bool)}
    augment = Augmentation(8, **{**GEOMETRY_ONLY, "flip_probability": (1.0, 0.0, 0.0), "affine_probability": 0.0})
    assert augment(data)["label"][0].nonzero().tolist() == [[6, 2, 3]]
