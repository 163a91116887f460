"""What a focus is made of."""

import numpy as np
import pytest
import torch

from medmiss.phantom.anatomy import Structure
from medmiss.phantom.fields import Fields
from medmiss.phantom.tumour import INFILTRATION, KINDS, Tumour, add_tumour

SHAPE = (48, 48, 48)


def drawn(kind: str, tissue: Structure) -> set[int]:
    tissues = torch.full(SHAPE, int(Structure.CSF), dtype=torch.uint8)
    tissues[8:40, 8:40, 8:40] = tissue
    found = add_tumour(tissues, Tumour(np.array([24.0, 24, 24]), 8.0, kind), Fields((3,), SHAPE, 0.25))
    return set(found.unique().tolist()) - {int(Structure.CSF), int(tissue)}


def test_an_infiltration_is_oedema_of_white_matter_alone():
    assert drawn(INFILTRATION, Structure.WHITE) == {Structure.OEDEMA}
    assert drawn(INFILTRATION, Structure.GREY) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_focus_has_a_core(kind: str):
    assert drawn(kind, Structure.WHITE) & {Structure.ENHANCING, Structure.NON_ENHANCING, Structure.NECROSIS}
