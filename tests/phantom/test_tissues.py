from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medmiss.cases import CaseError
from medmiss.phantom import make_case, write_cases
from medmiss.phantom.brain import procedural_tissues
from medmiss.phantom.tissues import read_tissues

SHAPE = (48, 48, 32)
SRI24 = Path(__file__).parents[3] / "shared" / "data" / "sri24" / "tissues.nii.gz"


@pytest.fixture
def tissue_map(tmp_path: Path) -> Path:
    """A procedural brain stored in LAS order, as SRI24's is."""
    tissues = procedural_tissues((7,), SHAPE).numpy()
    path = tmp_path / "tissues.nii.gz"
    nib.save(nib.Nifti1Image(tissues[:, ::-1], np.diag([-1.0, 1, 1, 1])), path)
    return path


def test_a_tissue_map_is_read_in_lps_order(tissue_map: Path):
    expected = procedural_tissues((7,), SHAPE).numpy()
    assert np.array_equal(read_tissues(tissue_map, SHAPE).numpy(), expected)
    assert read_tissues(tissue_map, (40, 40, 30)).shape == (40, 40, 30)


def test_phantoms_are_made_of_the_map(tissue_map: Path, tmp_path: Path):
    made, other = make_case(1, 0, SHAPE, tissue_map), make_case(1, 0, SHAPE)
    assert made.labels.any()
    assert not np.array_equal(made.images, other.images)
    write_cases(tmp_path / "set", 1, tissues=tissue_map, seed=1, shape=SHAPE)
    with pytest.raises(CaseError, match="tissues"):
        write_cases(tmp_path / "set", 1, seed=1, shape=SHAPE)


def test_another_label_map_is_refused(tmp_path: Path):
    path = tmp_path / "labels.nii.gz"
    labels = ndimage.label(np.random.default_rng(0).random((16, 16, 16)) > 0.9)[0]
    nib.save(nib.Nifti1Image(labels.astype(np.int16), np.eye(4)), path)
    with pytest.raises(CaseError, match="tissue map"):
        read_tissues(path, SHAPE)


@pytest.mark.skipif(not SRI24.is_file(), reason="needs SRI24's tissues.nii.gz in ../shared/data/sri24")
def test_sri24():
    case = make_case(1, 0, SHAPE, SRI24)
    assert case.labels.any()
    millilitres = (case.images[0] > 0).sum() * 240 * 240 * 155 / 1000 / np.prod(SHAPE)
    assert 1000 < millilitres < 2100
