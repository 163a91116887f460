"""The real cases that may lie beside the checkout: everything about them is found without a word of help."""

from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import (
    CONVENTIONS,
    find_cases,
    foreground,
    plausibility_warnings,
    read_case,
    read_label,
    write_volume,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
ALL = ("flair", "t1", "t1c", "t2")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")


@pytest.mark.parametrize(
    ("folder", "convention", "available", "label"),
    [
        ("brats2018", "brats2018", ALL, "Brats18_2013_2_1_seg.nii.gz"),
        ("brats2023_gli", "brats2023", ALL, "BraTS-GLI-00000-000-seg.nii.gz"),
        ("brats2023_met_unlabelled", "brats2023", ALL, None),
        ("msd_task01", "msd", ALL, "BRATS_001.nii.gz"),
        ("brats2013_flair_t1c", "brats2013", ("flair", "t1c"), "seg.nii.gz"),
        ("tcga_lgg_unlabelled", "brats2018", ALL, None),
        ("open_ms/patient07", "brats2018", ALL, "seg.nii.gz"),
    ],
)
def test_a_real_case(tmp_path, folder, convention, available, label):
    (case,) = find_cases(DATA / folder)
    assert (case.convention, case.available) == (convention, available)
    assert (case.label.path.name if case.label else None) == label
    few = case.restricted_to(case.available[:2])
    volumes = read_case(few)
    grid = volumes.grid
    assert volumes.warnings == []

    masks = {modality: foreground(array) for modality, array in volumes.arrays.items()}
    for modality, mask in masks.items():
        assert 1100e3 < np.count_nonzero(mask) < 1700e3  # mm3, as the voxels are 1 mm
        array = volumes.arrays[modality]
        outside = array[~mask]
        assert np.mean(outside == np.median(outside)) > 0.999
    assert plausibility_warnings(volumes.arrays, grid, masks) == []

    first = volumes.arrays[few.available[0]]
    np.testing.assert_array_equal(grid.from_network(grid.to_network(first, "linear"), "linear"), first)
    if case.label:
        labels = read_label(case, grid).array
        regions = CONVENTIONS[convention].regions(labels)
        back = CONVENTIONS[convention].regions(CONVENTIONS[convention].labels(regions))
        np.testing.assert_array_equal(back, regions)
    write_volume(tmp_path / "mask.nii.gz", masks[few.available[0]].astype(np.uint8), grid)
    (tmp_path / "mask.nii.gz").rename(tmp_path / "flair.nii.gz")
    (again,) = find_cases(tmp_path)
    assert read_case(again).grid.distance_mm(grid) == 0


def test_a_folder_of_another_kind_of_image_says_what_it_lacks():
    with pytest.raises(Exception, match=r"no image of a known name among erly\.nii\.gz"):
        find_cases(DATA / "sri24")
