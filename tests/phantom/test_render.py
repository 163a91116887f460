"""What a scanner does to an image, each effect alone; and heads without a tumour."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medmiss.phantom import PhantomRecipe, make_case, phantom_recipes
from medmiss.phantom.anatomy import Structure
from medmiss.phantom.case import _ANATOMIES
from medmiss.phantom.fields import Fields
from medmiss.phantom.render import LIKE, TEXTURED, atlas_texture, mirrored, moved, near_surface, soaked, thick_slices

SHAPE = (80, 80, 52)


def test_thick_slices_keep_what_does_not_change_along_them_and_blur_what_does():
    image = torch.rand(9, 8, 1, generator=torch.Generator().manual_seed(0)).expand(9, 8, 30)
    torch.testing.assert_close(thick_slices(image, 2, 5.0), image)
    edge = torch.zeros(4, 4, 30)
    edge[:, :, 15:] = 1
    blurred = thick_slices(edge, 2, 5.0)
    profile = blurred[0, 0]
    assert torch.equal(thick_slices(edge, 0, 3.0), edge)
    assert (profile.diff() > -1e-5).all()
    assert 4 <= ((profile > 0.02) & (profile < 0.98)).sum() <= 10
    torch.testing.assert_close(blurred.mean(), edge.mean(), atol=0.02, rtol=0)


def test_motion_and_ringing_keep_the_mean_and_change_the_edges():
    edge = torch.zeros(24, 24, 24)
    edge[8:16, 8:16, 8:16] = 1
    changes = []
    for seed in range(6):
        image = moved(edge, Fields((seed,), (24, 24, 24)))
        assert image.shape == edge.shape
        assert image.min() >= 0
        torch.testing.assert_close(image.mean(), edge.mean(), atol=0, rtol=0.1)
        changes.append(float((image - edge).abs().max()))
    assert max(changes) > 0.05


def test_nearness_of_the_surface_is_high_at_the_border_and_nothing_deep_inside():
    head = torch.full((48, 48, 48), int(Structure.WHITE), dtype=torch.uint8)
    head[:6], head[-6:], head[:, :6], head[:, -6:], head[..., :6], head[..., -6:] = 0, 0, 0, 0, 0, 0
    nearness = near_surface(head)
    assert nearness[24, 24, 24] == 0
    assert nearness[6, 24, 24] > 0.5
    assert 0 <= nearness.min() <= nearness.max() <= 1


def test_oedema_fades_into_white_matter_and_into_nothing_else():
    structures = torch.full((40, 40, 40), int(Structure.WHITE), dtype=torch.uint8)
    structures[10:30], structures[20:30], structures[30:] = Structure.OEDEMA, Structure.ENHANCING, Structure.GREY
    waters = [soaked(structures, Fields((seed,), SHAPE)) for seed in range(60)]
    for water in waters:
        assert not water[20:].any()
        assert not water[:5].any()  # 5 voxels and more from the border
        assert (water[15:20] == 1).all()
        assert water[9].max() < 0.5 < water[10].min()
    assert max(float(water[9].max()) for water in waters) > 0.4
    assert min(float(water[9].max()) for water in waters) == 0  # now and then the border is sharp


def test_a_mirrored_field_is_the_same_on_both_sides_and_as_strong_but_stronger_in_the_middle():
    field = torch.stack([mirrored(Fields((seed,), (40, 40, 40)).smooth(6)) for seed in range(8)])
    assert torch.equal(field, field.flip(1))
    assert float(field[:, :10].var()) == pytest.approx(1, abs=0.2)
    assert float(field[:, 19:21].var()) == pytest.approx(2, abs=0.4)


def test_the_core_of_a_tumour_has_no_texture_and_healthy_tissue_has():
    index = torch.tensor([int(structure) for structure in Structure])
    details = [torch.full((len(index),), 0.2)] * 3
    for modality in LIKE:
        texture = atlas_texture(details, index, modality, Fields((1,), (8, 8, 8)))
        shown = {structure for structure in Structure if texture[structure] != 0}
        assert shown == set(TEXTURED)
        assert texture[Structure.OEDEMA] < texture[Structure.WHITE] == texture[Structure.GREY] or texture.max() <= 0


def test_a_healthy_head_has_no_label_and_all_its_images():
    case = make_case(5, 1, SHAPE, healthy=True)
    assert not case.labels.any()
    assert (case.images > 0).any(axis=(1, 2, 3)).all()
    assert make_case(5, 1, SHAPE).labels.any()


def test_the_healthy_share_is_spread_evenly():
    flags = healthy(0.08)
    assert flags.sum() == 8
    assert np.ptp(np.diff(np.flatnonzero(flags))) <= 1
    assert not healthy(0.0).any()


@pytest.mark.parametrize(("procedural", "healthy"), [(0.25, 0.2), (0.2, 0.2), (0.5, 0.5), (0.1, 0.2)])
def test_a_share_of_the_phantoms_with_and_without_tumours_has_a_procedural_brain(
    tmp_path: Path, procedural: float, healthy: float
):
    recipes = phantom_recipes(200, tissues=tmp_path, procedural=procedural, healthy=healthy)
    assert all(isinstance(recipe, PhantomRecipe) for recipe in recipes)
    flags = np.array([(recipe.tissues is None, recipe.healthy) for recipe in recipes])  # type: ignore[attr-defined]
    assert flags.mean(axis=0).tolist() == pytest.approx([procedural, healthy])
    for part in (flags[flags[:, 1], 0], flags[~flags[:, 1], 0]):
        assert part.mean() == pytest.approx(procedural)
        assert np.ptp(np.diff(np.flatnonzero(part))) <= 1  # spread evenly
    brains = {index % _ANATOMIES for index in np.flatnonzero(flags[:, 0])}
    assert len(brains) >= 0.8 * min(_ANATOMIES, flags[:, 0].sum())


def test_a_share_is_met_as_nearly_as_can_be():
    assert [healthy(share).sum() for share in (0.29, 0.57, 1.0)] == [29, 57, 100]
    for share in (-0.1, 1.5):
        with pytest.raises(ValueError, match="expected a number from 0 to 1"):
            phantom_recipes(10, healthy=share)
        with pytest.raises(ValueError, match="procedural"):
            phantom_recipes(10, procedural=share)


def healthy(share: float) -> np.ndarray:
    """Which of a hundred phantoms are healthy."""
    recipes = phantom_recipes(100, healthy=share)
    return np.array([isinstance(recipe, PhantomRecipe) and recipe.healthy for recipe in recipes])
