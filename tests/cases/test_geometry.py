import pickle

import nibabel as nib
import numpy as np
import pytest

from medmiss.cases import Grid

ORIENTATIONS = ("LPS", "RAS", "LAS", "PIR", "SLA", "IAL", "RSP")


def grid_of(codes: str, shape=(7, 9, 6), spacing=(1.0, 1.0, 1.0), rotation_degrees: float = 0.0) -> Grid:
    """A grid whose axes point where the codes say, with an odd origin and possibly a small rotation."""
    directions = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(nib.orientations.axcodes2ornt(tuple(codes))):
        directions[int(world), axis] = sign
    angle = np.radians(rotation_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions * np.array(spacing)
    affine[:3, 3] = (-31.5, 17.25, 4.0)
    return Grid(shape, affine)


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 2, 2), (1, 1, 5), (3, 1, 2), (1.0000003, 1.9999996, 5)])
@pytest.mark.parametrize("order", ["linear", "nearest"])
def test_round_trip_is_exact(codes, spacing, order):
    grid = grid_of(codes, spacing=spacing)
    array = np.random.default_rng(1).normal(size=(3, *grid.shape)).astype(np.float32)
    there = grid.to_network(array, order)
    assert there.shape == (3, *grid.network_shape)
    back = grid.from_network(there, order)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.2, 0.9, 3.3), (0.7, 1.005, 0.25)])
def test_any_spacing_comes_back_in_shape_and_nearly_in_value(codes, spacing):
    grid = grid_of(codes, shape=(12, 15, 11), spacing=spacing)
    world = nib.affines.apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
    smooth = np.sin(world / 9).sum(-1).astype(np.float32)
    back = grid.from_network(grid.to_network(smooth, "linear"), "linear")
    assert back.shape == grid.shape
    assert np.abs(back - smooth).max() < 0.15  # of an amplitude of 3; the ends repeat within a millimetre
    mask = grid.from_network(np.ones(grid.network_shape, dtype=bool), "nearest")
    assert mask.dtype == bool
    assert mask.all()


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("rotation", [0, 20])
def test_the_network_sees_lps_whatever_the_header(codes, rotation):
    """An image of the world's own coordinates shows where the axes of the network point."""
    grid = grid_of(codes, spacing=(2, 1, 3), rotation_degrees=rotation)
    world = nib.affines.apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
    seen = grid.to_network(np.moveaxis(world, -1, 0), "linear")  # channels: mm to the right, front, top
    assert (np.diff(seen[0], axis=0) < 0).all()
    assert (np.diff(seen[1], axis=1) < 0).all()
    assert (np.diff(seen[2], axis=2) > 0).all()
    if rotation == 0:  # and a step along them is 1 mm
        np.testing.assert_allclose(np.diff(seen[2], axis=2), 1, atol=1e-4)
        np.testing.assert_allclose(np.diff(seen[0], axis=0), -1, atol=1e-4)


def test_brats_is_the_networks_own_grid():
    grid = Grid((5, 6, 7), np.array([[-1.0, -0.0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]]))
    array = np.arange(210).reshape(5, 6, 7)
    np.testing.assert_array_equal(grid.to_network(array, "nearest"), array)
    assert (grid.network_shape, grid.voxel_volume_mm3) == ((5, 6, 7), 1.0)
    assert not np.signbit(grid.affine[0, 1])


def test_spacing_and_volume_follow_the_array_axes():
    grid = grid_of("SLA", shape=(4, 5, 6), spacing=(5, 1, 2))
    assert grid.spacing == (5, 1, 2)
    assert grid.voxel_volume_mm3 == pytest.approx(10)
    assert grid.network_shape == (5, 11, 16)  # x of 5 at 1 mm, y of 6 at 2 mm, z of 4 at 5 mm


def test_distance_between_grids():
    grid = grid_of("LPS", shape=(11, 11, 11))
    moved = np.array(grid.affine)
    moved[0, 3] += 0.25
    turned = np.array(grid.affine)
    turned[1, 0] += 0.01
    assert grid.distance_mm(grid) == 0
    assert grid.distance_mm(Grid(grid.shape, moved)) == pytest.approx(0.25)
    assert grid.distance_mm(Grid(grid.shape, turned)) == pytest.approx(0.1)
    assert grid.distance_mm(Grid((11, 11, 12), grid.affine)) == np.inf


def test_arrays_of_another_shape_are_refused():
    grid = grid_of("RAS", spacing=(2, 2, 2))
    with pytest.raises(ValueError, match=r"\(7, 9, 6\)"):
        grid.to_network(np.zeros((9, 7, 6)), "nearest")
    with pytest.raises(ValueError, match=r"\(13, 17, 11\)"):
        grid.from_network(np.zeros((7, 9, 6)), "nearest")


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)])
def test_an_impossible_affine_is_refused(affine):
    with pytest.raises(ValueError, match="affine"):
        Grid((2, 2, 2), affine)


def test_a_grid_can_be_pickled():
    grid = grid_of("PIR", spacing=(1, 2, 3))
    copy = pickle.loads(pickle.dumps(grid))
    assert grid.distance_mm(copy) == 0
