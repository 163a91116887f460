import pickle
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, CaseError

# Value of each region's own tissue by year, as in the data sets' descriptions: NCR, ED, ET.
VALUES = {
    "brats2013": (1, 2, 4),
    "brats2018": (1, 2, 4),
    "brats2021": (1, 2, 4),
    "brats2023": (1, 2, 3),
    "brats2024": (1, 2, 3),
    "msd": (2, 1, 3),
}


def test_an_error_names_everything_and_survives_pickling():
    error = CaseError("p1", "a 4-D image", "a 3-D volume", "give one file a modality", file=Path("a/t1.nii.gz"))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.file == Path("a/t1.nii.gz")
    for part in ("p1", "t1.nii.gz", "a 4-D image", "a 3-D volume", "give one file a modality"):
        assert part in str(error)


def test_every_convention_is_checked_here():
    assert set(VALUES) == set(CONVENTIONS)


@pytest.mark.parametrize("name", VALUES)
def test_regions_and_back(name):
    ncr, ed, et = VALUES[name]
    labels = np.array([0, ncr, ed, et]).reshape(4, 1, 1)
    regions = CONVENTIONS[name].regions(labels)
    assert regions.dtype == bool
    assert regions.reshape(3, 4).tolist() == [[0, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 1]]  # ET, TC, WT
    back = CONVENTIONS[name].labels(regions)
    assert back.dtype == np.uint8
    assert back.tolist() == labels.tolist()


def test_the_resection_cavity_of_2024_is_no_tumour():
    assert not CONVENTIONS["brats2024"].regions(np.full((1, 1, 1), 4)).any()
    assert CONVENTIONS["brats2018"].regions(np.full((1, 1, 1), 4)).all()


def test_non_enhancing_tumour_of_2013_is_core():
    assert CONVENTIONS["brats2013"].regions(np.full((1, 1, 1), 3)).ravel().tolist() == [False, True, True]


def test_inner_regions_win_where_regions_are_not_nested():
    regions = np.array([[1, 0], [0, 1], [0, 0]], dtype=bool).reshape(3, 2, 1, 1)
    assert CONVENTIONS["brats2018"].labels(regions).ravel().tolist() == [4, 1]


def test_a_wrong_number_of_regions_is_refused():
    with pytest.raises(ValueError, match="ET"):
        CONVENTIONS["msd"].labels(np.zeros((4, 2, 2, 2), dtype=bool))
