"""What a phantom must share with real cases: measured facts, and ranges wider than what was measured."""

import numpy as np
import pytest
from scipy import ndimage

from medmiss.cases import CONVENTIONS
from medmiss.modalities import MODALITIES
from medmiss.phantom import PhantomCase, PhantomRecipe, make_case, phantom_recipes
from medmiss.phantom.anatomy import Structure
from medmiss.phantom.case import PARTS
from medmiss.phantom.fields import Fields
from medmiss.phantom.render import draw_contrast

SHAPE = (80, 80, 52)
FULL_ML = 240 * 240 * 155 / 1000 / np.prod(SHAPE)
"""ml that a voxel of the small head stands for."""


@pytest.fixture(scope="module")
def phantoms() -> list[PhantomCase]:
    return [make_case(5, index, SHAPE) for index in range(10)]


def test_images_and_labels_are_those_of_brats(phantoms: list[PhantomCase]):
    for case in phantoms:
        assert case.images.shape == (4, *SHAPE)
        assert case.images.dtype == np.float32
        assert np.isfinite(case.images).all()
        assert case.images.min() == 0
        brain = case.images > 0
        assert (brain == brain[0]).all()
        assert set(np.unique(case.labels).tolist()) <= {0, 1, 2, 4}
        assert not case.labels[~brain[0]].any()
        assert np.diag(case.affine).tolist() == [-1, -1, 1, 1]


def test_volumes_are_plausible(phantoms: list[PhantomCase]):
    whole = []
    for case in phantoms:
        et, tc, wt = CONVENTIONS["brats2018"].regions(case.labels)
        assert not (et & ~tc).any()
        assert not (tc & ~wt).any()
        whole.append(wt.sum() * FULL_ML)
        assert 1000 < (case.images[0] > 0).sum() * FULL_ML < 2100
    assert all(1 < volume < 420 for volume in whole)
    assert 25 < np.median(whole) < 220
    assert all(any((case.labels == value).any() for case in phantoms) for value in (1, 2, 4))


def contrast_to_surroundings(case: PhantomCase, label: int) -> np.ndarray:
    """Median of a label over that of the healthy tissue around the tumour, a number a modality: no bias field in it."""
    border, near = (ndimage.binary_dilation(case.labels > 0, iterations=steps) for steps in (1, 6))
    around = near & ~border & (case.images[0] > 0)  # oedema fades into white matter at its border
    return np.median(case.images[:, case.labels == label], axis=1) / np.median(case.images[:, around], axis=1)


def test_enhancing_tumour_is_bright_on_t1c_alone(phantoms: list[PhantomCase]):
    ratios = np.array([contrast_to_surroundings(case, 4) for case in phantoms if (case.labels == 4).sum() >= 20])
    flair, t1, t1c, t2 = np.median(ratios, axis=0)
    assert len(ratios) >= 4
    assert t1c > 1.25
    assert t1 < 1.15
    assert np.sum(ratios[:, 2] > ratios[:, 1]) >= len(ratios) - 1  # small patches may drown in thick slices
    assert min(flair, t2) > 1.1


def test_oedema_is_bright_on_flair_and_t2_and_not_on_t1(phantoms: list[PhantomCase]):
    ratios = np.array([contrast_to_surroundings(case, 2) for case in phantoms if (case.labels == 2).sum() >= 50])
    flair, t1, _, t2 = np.median(ratios, axis=0)
    assert len(ratios) >= 8
    assert flair > 1.3
    assert t2 > 1.3
    assert t1 < 1.05


def test_every_oedema_can_be_seen_where_the_scanner_has_no_faults():
    clean = [make_case(5, index, SHAPE, without=["drift", "scanner"]) for index in range(10)]
    ratios = np.array([contrast_to_surroundings(case, 2) for case in clean if (case.labels == 2).sum() >= 50])
    assert len(ratios) >= 8
    assert (ratios[:, [0, 3]].max(axis=1) > 1.35).all()


def test_the_contrast_keeps_the_order_of_the_tissues():
    for seed in range(40):
        contrast = draw_contrast(Fields((seed,), (4, 4, 4))).numpy()
        flair, t1, t1c, t2 = (dict(zip(Structure, contrast[channel], strict=True)) for channel in range(4))
        for channel in (flair, t1, t1c, t2):
            assert channel[Structure.WHITE] == 1
        for channel in (t1, t1c):
            assert channel[Structure.CSF] < channel[Structure.GREY] < 1
        assert flair[Structure.CSF] < flair[Structure.GREY] < flair[Structure.OEDEMA]
        assert 1 < t2[Structure.GREY] < t2[Structure.OEDEMA]
        assert t2[Structure.GREY] < t2[Structure.CSF]
        assert t1c[Structure.ENHANCING] > max(1.2, t1[Structure.ENHANCING])
        assert t1c[Structure.NECROSIS] < t1c[Structure.ENHANCING]
        assert t1c[Structure.OEDEMA] < t1c[Structure.ENHANCING]


def test_the_same_number_gives_the_same_patient(phantoms: list[PhantomCase]):
    again = make_case(5, 1, SHAPE)
    assert np.array_equal(again.images, phantoms[1].images)
    assert np.array_equal(again.labels, phantoms[1].labels)
    assert not np.array_equal(phantoms[0].labels, phantoms[1].labels)
    assert not np.array_equal(make_case(6, 1, SHAPE).images, again.images)
    assert len(again.images) == len(MODALITIES)


def test_every_part_can_be_left_out():
    whole = make_case(5, 1, SHAPE)
    for part in PARTS:
        case = make_case(5, 1, SHAPE, without=[part])
        assert (part == "texture") == np.array_equal(case.images, whole.images)  # this anatomy has no texture
        same = part in ("texture", "drift", "scanner")  # what is drawn after the labels
        assert same == np.array_equal(case.labels, whole.labels)


def test_without_drift_and_faults_a_tissue_is_as_bright_everywhere():
    plain = make_case(5, 1, (120, 120, 80), without=["drift", "scanner"], healthy=True)
    varied = make_case(5, 1, (120, 120, 80), healthy=True)

    def spread(case: PhantomCase) -> float:
        """Standard deviation of T1 over its mean between large blocks of white matter, its brightest tissue."""
        t1 = case.images[1]
        blocks = t1.reshape(6, 20, 6, 20, 4, 20).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 8000)
        bright = [np.percentile(block, 90) for block in blocks if (block > 0).mean() > 0.9]
        return float(np.std(bright) / np.mean(bright))

    assert spread(plain) < 0.03 < spread(varied)


def test_what_is_no_part_is_refused():
    with pytest.raises(ValueError, match="skull: no part of a phantom; expected some of displacement, confounders"):
        make_case(5, 1, SHAPE, without=["skull"])
    with pytest.raises(ValueError, match="skull: no part of a phantom"):
        phantom_recipes(1, without="drift, skull")
    recipe = phantom_recipes(1, without="drift, scanner")[0]
    assert isinstance(recipe, PhantomRecipe)
    assert recipe.without == ("drift", "scanner")
