"""What a focus is made of."""

import numpy as np
import pytest
import torch

from medmiss.phantom.anatomy import Structure
from medmiss.phantom.fields import Fields
from medmiss.phantom.tumour import INFILTRATION, KINDS, Tumour, add_tumour, deep_grey

SHAPE = (48, 48, 48)


def drawn(kind: str, tissue: Structure, deep: bool = False) -> set[int]:
    tissues = torch.full(SHAPE, int(Structure.CSF), dtype=torch.uint8)
    tissues[8:40, 8:40, 8:40] = tissue
    where = torch.full(SHAPE, deep)
    found = add_tumour(tissues, Tumour(np.array([24.0, 24, 24]), 8.0, kind), where, Fields((3,), SHAPE, 0.25))
    return set(found.unique().tolist()) - {int(Structure.CSF), int(tissue)}


def test_an_infiltration_is_oedema_of_white_matter_alone():
    assert drawn(INFILTRATION, Structure.WHITE) == {Structure.OEDEMA}
    assert drawn(INFILTRATION, Structure.GREY) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_focus_has_a_core(kind: str):
    assert drawn(kind, Structure.WHITE) & {Structure.ENHANCING, Structure.NON_ENHANCING, Structure.NECROSIS}


def oedema(tissue: Structure, deep: bool) -> int:
    """Voxels of oedema of eight foci in one tissue."""
    tissues, where = torch.full(SHAPE, int(tissue), dtype=torch.uint8), torch.full(SHAPE, deep)
    tumour = Tumour(np.array([24.0, 24, 24]), 8.0, "ring")
    found = [add_tumour(tissues, tumour, where, Fields((seed,), SHAPE, 0.25)) for seed in range(8)]
    return sum(int((each == Structure.OEDEMA).sum()) for each in found)


def test_oedema_enters_deep_grey_matter_more_than_cortex_and_white_matter_most():
    cortex, deep, white = oedema(Structure.GREY, False), oedema(Structure.GREY, True), oedema(Structure.WHITE, False)
    assert 0 < cortex < 0.7 * deep < deep < white
    assert oedema(Structure.CSF, True) == oedema(Structure.OUTSIDE, True) == 0


def test_deep_grey_is_thick_and_far_from_the_surface():
    grey = torch.full(SHAPE, int(Structure.WHITE), dtype=torch.uint8)
    grey[8:24] = Structure.GREY  # thick
    grey[36:38] = Structure.GREY  # a ribbon
    depth = torch.full(SHAPE, 30.0)
    depth[:, :24] = 5.0
    found = deep_grey(grey, depth, 1.0)
    assert found[12:20, 30:].all()
    assert not found[:, :24].any()
    assert not found[24:].any()
