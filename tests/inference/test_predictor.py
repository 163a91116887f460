"""The way back: a mask lies where the bright ball of the input's own voxels lies, whatever their order and size."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose
from torch import Tensor, nn

from medmiss.cases import CaseError, Grid, case_from_files
from medmiss.inference import CasePredictor, ModalitySlidingWindowInferer
from medmiss.transforms import CropForegroundd, LoadCased, NormalizeModalitiesd


class BrightVoxels(nn.Module):
    """Calls tumour what is bright in FLAIR; the trivial network whose answer is known."""

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        return (20 * (image[:, :1] - 1.0)).repeat(1, 3, 1, 1, 1)


class Broken(nn.Module):
    """Gives NaN."""

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        return torch.full_like(image[:, :3], torch.nan)


def predictor(network: nn.Module, **options: bool) -> CasePredictor:
    preprocessing = Compose([LoadCased(), NormalizeModalitiesd(), CropForegroundd()])
    return CasePredictor(network, ModalitySlidingWindowInferer([16, 16, 16], mode="gaussian"), preprocessing, **options)


def write_image(folder: Path, affine: np.ndarray, shape: tuple[int, int, int] = (30, 24, 20)) -> np.ndarray:
    """An image with a ball in it; where the ball is."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    noise = np.random.default_rng(0).standard_normal(shape)
    ball = (x - 0.3) ** 2 + (y + 0.2) ** 2 + (z - 0.1) ** 2 < 0.1
    image = (100 + noise + 200 * ball) * (x**2 + y**2 + z**2 < 0.9)
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), folder / "flair.nii.gz")
    return ball


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([-1.0, -1.0, 1.0, 1.0]),  # LPS
        np.diag([1.0, 1.0, 1.0, 1.0]),  # RAS
        np.diag([-1.0, 1.0, 1.0, 1.0]),  # LAS
        np.array([[0.0, 0, 1, 3], [1, 0, 0, -7], [0, -1, 0, 5], [0, 0, 0, 1]]),  # ASR-like permutation
        np.diag([-2.0, -2.0, 2.0, 1.0]),  # 2 mm
        np.diag([1.0, -1.0, 3.0, 1.0]),  # thick slices
    ],
)
def test_the_mask_is_where_the_input_is(tmp_path: Path, affine: np.ndarray):
    ball = write_image(tmp_path, affine)
    prediction = predictor(BrightVoxels())(case_from_files({"flair": tmp_path / "flair.nii.gz"}))
    assert isinstance(prediction.grid, Grid)
    np.testing.assert_array_equal(prediction.grid.affine, affine)
    for region in prediction.regions:
        np.testing.assert_array_equal(region, ball)


def test_a_fractional_spacing_keeps_the_shape_and_nearly_the_ball(tmp_path: Path):
    ball = write_image(tmp_path, np.diag([-0.8, -1.3, 1.7, 1.0]))
    regions = predictor(BrightVoxels())(case_from_files({"flair": tmp_path / "flair.nii.gz"})).regions
    assert regions[0].shape == ball.shape
    assert 2 * np.count_nonzero(regions[0] & ball) / (regions[0].sum() + ball.sum()) > 0.9


def test_probabilities_are_kept_on_request_only(tmp_path: Path):
    write_image(tmp_path, np.diag([-2.0, -2.0, 2.0, 1.0]))
    case = case_from_files({"flair": tmp_path / "flair.nii.gz"})
    assert predictor(BrightVoxels())(case).probabilities is None
    prediction = predictor(BrightVoxels())(case, probabilities=True)
    assert prediction.probabilities is not None
    np.testing.assert_array_equal(prediction.probabilities > 0.5, prediction.regions)


def test_autocast_changes_little(tmp_path: Path):
    ball = write_image(tmp_path, np.diag([-1.0, -1.0, 1.0, 1.0]))
    prediction = predictor(BrightVoxels(), amp=True)(case_from_files({"flair": tmp_path / "flair.nii.gz"}))
    np.testing.assert_array_equal(prediction.regions[0], ball)


def test_nan_from_the_network_is_no_mask(tmp_path: Path):
    write_image(tmp_path, np.eye(4))
    with pytest.raises(CaseError, match="NaN"):
        predictor(Broken())(case_from_files({"flair": tmp_path / "flair.nii.gz"}))


def test_what_is_wrong_with_a_file_is_a_case_error(tmp_path: Path):
    (tmp_path / "flair.nii.gz").write_bytes(b"")
    with pytest.raises(CaseError, match=r"flair\.nii\.gz"):
        predictor(BrightVoxels())(case_from_files({"flair": tmp_path / "flair.nii.gz"}))
