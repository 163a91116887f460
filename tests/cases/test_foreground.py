import numpy as np
import pytest

from medmiss.cases import Grid, background_value, foreground, plausibility_warnings

SHAPE = (40, 44, 36)
ATLAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ellipsoid(radius: float = 1.0, shift: float = 0.0) -> np.ndarray:
    axes = [np.linspace(-1.3, 1.3, size) for size in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return (x - shift) ** 2 + y**2 + z**2 < radius**2


def brain_of(mask: np.ndarray, background: float = 0.0, mean: float = 400.0, sd: float = 60.0) -> np.ndarray:
    values = np.random.default_rng(3).normal(mean, sd, SHAPE)
    return np.where(mask, values, background).astype(np.float32)


@pytest.mark.parametrize("background", [0.0, -5.342541, 1000.0, 400.0])
@pytest.mark.parametrize("sd", [60.0, 400.0])
def test_the_background_may_be_any_constant(background, sd):
    """With a standard deviation of 400, a sixth of the brain is negative."""
    mask = ellipsoid()
    array = brain_of(mask, background, sd=sd)
    assert background_value(array) == np.float32(background)
    np.testing.assert_array_equal(foreground(array), mask)


def test_holes_are_brain_and_specks_are_not():
    mask = ellipsoid()
    array = brain_of(mask)
    array[18:22, 20:24, 17:19] = 0
    array[1, 1, 1:4] = 77
    np.testing.assert_array_equal(foreground(array), mask)


def test_a_brain_in_two_parts_is_kept_whole():
    mask = ellipsoid()
    mask[20] = False
    np.testing.assert_array_equal(foreground(brain_of(mask)), mask)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_noise_around_a_head_is_background(dtype):
    generator = np.random.default_rng(4)
    mask = ellipsoid()
    noise = np.abs(generator.normal(0, 8, SHAPE))
    array = np.where(mask, generator.normal(300, 50, SHAPE), noise).astype(dtype)
    assert background_value(array) is None
    found = foreground(array)
    assert np.count_nonzero(found ^ mask) < 0.01 * mask.sum()


def test_a_crop_from_inside_the_brain_is_all_foreground():
    array = np.random.default_rng(5).normal(300, 50, SHAPE).astype(np.float32)
    assert foreground(array).all()


def test_a_constant_volume_has_no_foreground():
    assert not foreground(np.full(SHAPE, 3.0, dtype=np.float32)).any()


def test_a_usual_case_gives_no_warning():
    arrays = {"flair": brain_of(ellipsoid()), "t2": brain_of(ellipsoid(0.98), background=-1)}
    assert plausibility_warnings(arrays, Grid(SHAPE, ATLAS)) == []


def test_a_head_is_told_from_a_brain():
    array = brain_of(ellipsoid())
    noisy = array + np.abs(np.random.default_rng(6).normal(0, 5, SHAPE)).astype(np.float32)
    (by_noise,) = plausibility_warnings({"t1": noisy}, Grid(SHAPE, ATLAS))
    assert by_noise.startswith("T1 looks not skull-stripped: its background is not constant")
    large = Grid(SHAPE, ATLAS @ np.diag([6.0, 6, 6, 1]))
    by_volume = plausibility_warnings({"t1": array}, large)[0]
    assert "T1 looks not skull-stripped: its foreground has" in by_volume


def test_modalities_apart_are_named():
    arrays = {"flair": brain_of(ellipsoid(0.8)), "t1": brain_of(ellipsoid(0.8)), "t2": brain_of(ellipsoid(0.8, 0.4))}
    (message,) = plausibility_warnings(arrays, Grid(SHAPE, ATLAS))
    assert message.startswith("FLAIR and T2 look not co-registered")


def test_masks_at_hand_are_used():
    arrays = {"flair": brain_of(ellipsoid(0.8)), "t1": brain_of(ellipsoid(0.8))}
    masks = {"flair": ellipsoid(0.8), "t1": ellipsoid(0.4)}
    assert "FLAIR and T1 look not co-registered" in plausibility_warnings(arrays, Grid(SHAPE, ATLAS), masks)[0]


@pytest.mark.parametrize(("spacing", "warned"), [((1, 1, 1), False), ((1, 1, 5), True), ((0.5, 0.5, 1), True)])
def test_spacing_far_from_a_millimetre_is_named(spacing, warned):
    grid = Grid(SHAPE, ATLAS @ np.diag([*spacing, 1]))
    messages = plausibility_warnings({"t1": brain_of(ellipsoid())}, grid)
    assert [message.startswith("voxels of") for message in messages] == [True] * warned


def test_a_rotated_volume_is_named():
    angle = np.radians(25)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    (message,) = plausibility_warnings({"t1": brain_of(ellipsoid())}, Grid(SHAPE, turn @ ATLAS))
    assert "rotated by 25 degrees" in message
