"""Normalisation and the foreground crop: each modality by itself, absent ones without influence."""

import pytest
import torch

from medmiss.transforms import CropForegroundd, NormalizeModalitiesd

SHAPE = (16, 14, 12)


def item(available=(True, True, False, True)):
    generator = torch.Generator().manual_seed(0)
    image = torch.full((4, *SHAPE), -7.0)
    foreground = torch.zeros((4, *SHAPE), dtype=torch.bool)
    for channel, flag in enumerate(available):
        if flag:
            window = (channel, slice(4 + channel, 10), slice(5, 9), slice(3, 8))
            foreground[window] = True
            image[window] = 100 * channel - 50 + 20 * torch.randn(image[window].shape, generator=generator)
    return {"image": image, "foreground": foreground, "available": torch.tensor(available)}


def test_foreground_gets_mean_0_and_std_1_and_background_exactly_0():
    data = item()
    result = NormalizeModalitiesd()(data)["image"]
    for channel in (0, 1, 3):
        values = result[channel][data["foreground"][channel]]
        assert abs(values.mean()) < 1e-5 and abs(values.std(correction=0) - 1) < 1e-5
        assert (result[channel][~data["foreground"][channel]] == 0).all()


def test_outliers_are_clipped_at_the_percentiles():
    data = item()
    data["image"][0, 5, 6, 4] = 1e6
    assert NormalizeModalitiesd(lower=2, upper=98)(data)["image"][0].max() < 5
    assert NormalizeModalitiesd(lower=0, upper=100)(data)["image"][0].max() > 9


def test_constant_and_empty_foregrounds_become_zeros():
    data = item()
    data["image"][0][data["foreground"][0]] = 1234.567
    data["foreground"][1] = False
    result = NormalizeModalitiesd()(data)["image"]
    assert (result[:2] == 0).all() and result[3].std() > 0


def test_the_input_is_left_alone_and_an_absent_channel_as_it_was():
    data = item()
    before = data["image"].clone()
    data["image"][2] = before[2] = float("nan")
    result = NormalizeModalitiesd()(data)["image"]
    assert torch.equal(data["image"].nan_to_num(), before.nan_to_num())
    assert result[2].isnan().all() and result[[0, 1, 3]].isfinite().all()


def test_crop_is_the_union_box_of_the_available_modalities():
    data = item()
    data["label"] = torch.rand(3, *SHAPE)
    result = CropForegroundd(margin=1)(data)
    assert result["box"] == ((3, 4, 2), (11, 10, 9))
    assert torch.equal(result["image"], data["image"][:, 3:11, 4:10, 2:9])
    assert torch.equal(result["label"], data["label"][:, 3:11, 4:10, 2:9])
    assert torch.equal(result["foreground"], data["foreground"][:, 3:11, 4:10, 2:9])
    assert CropForegroundd(margin=1)(item((False, False, False, True)))["box"] == ((6, 4, 2), (11, 10, 9))


def test_margin_ends_at_the_volume_and_an_empty_foreground_keeps_all():
    assert CropForegroundd(margin=4)(item())["box"] == ((0, 1, 0), (14, 13, 12))
    data = item()
    data["foreground"][:] = False
    assert CropForegroundd()(data)["box"] == ((0, 0, 0), SHAPE)


def test_what_an_absent_channel_holds_changes_nothing():
    expected = CropForegroundd()(NormalizeModalitiesd()(item()))
    data = item()
    data["image"][2] = float("nan")
    data["foreground"][2] = True
    result = CropForegroundd()(NormalizeModalitiesd()(data))
    assert result["box"] == expected["box"]
    assert torch.equal(result["image"][[0, 1, 3]], expected["image"][[0, 1, 3]])


def test_the_two_give_the_same_in_either_order():
    first, second = CropForegroundd()(NormalizeModalitiesd()(item())), NormalizeModalitiesd()(CropForegroundd()(item()))
    assert torch.equal(first["image"], second["image"]) and first["box"] == second["box"]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="percentiles"):
        NormalizeModalitiesd(lower=50, upper=50)
    with pytest.raises(ValueError, match="margin"):
        CropForegroundd(margin=-1)
