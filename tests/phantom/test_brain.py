import numpy as np
import pytest
import torch
from scipy import ndimage

from medmiss.phantom.brain import procedural_tissues
from medmiss.phantom.tissues import CSF, GREY, WHITE

SHAPES = [(64, 64, 48), (120, 120, 78)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_brain_has_the_volumes_of_a_brain(shape: tuple[int, int, int], seed: int):
    tissues = procedural_tissues((seed,), shape).numpy()
    assert tissues.shape == shape
    assert tissues.dtype == np.uint8
    millilitres = np.bincount(tissues.ravel(), minlength=4) * (240 * 240 * 155 / tissues.size) / 1000
    assert len(millilitres) == 4
    assert 1350 < millilitres[1:].sum() < 1650
    assert 120 < millilitres[CSF] < 320
    assert 450 < millilitres[GREY] < 750
    assert 480 < millilitres[WHITE] < 800


def test_the_brain_is_one_piece_inside_the_grid():
    head = procedural_tissues((3,), (120, 120, 78)).numpy() > 0
    pieces = ndimage.label(head)[0]
    assert np.bincount(pieces.ravel())[1:].max() > 0.99 * head.sum()
    assert not any(head[edge].any() for edge in (0, -1))
    assert not any(head[:, edge].any() for edge in (0, -1))
    assert (ndimage.binary_fill_holes(head) & ~head).sum() < 1e-3 * head.sum()


def test_the_ventricles_lie_deep():
    tissues = procedural_tissues((4,), (120, 120, 78)).numpy()
    depth = ndimage.distance_transform_edt(tissues > 0, sampling=2)
    assert 10 < (tissues[depth > 25] == CSF).sum() * 8 / 1000 < 80  # ml
    cortex = tissues[(depth > 2) & (depth < 5)] == GREY
    assert cortex.mean() > 0.5


def test_the_seed_decides():
    shape = (48, 48, 32)
    assert torch.equal(procedural_tissues((1, 2), shape), procedural_tissues((1, 2), shape))
    assert not torch.equal(procedural_tissues((1, 2), shape), procedural_tissues((1, 3), shape))
