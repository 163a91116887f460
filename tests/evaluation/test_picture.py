from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from medmiss.evaluation.picture import COLOURS, Panel, best_slice, draw_rows

SHAPE = (30, 32, 20)


def regions(*slices: int) -> np.ndarray:
    """Three nested boxes on these axial slices."""
    out = np.zeros((3, *SHAPE), dtype=bool)
    for index, half in enumerate((3, 6, 9)):
        out[index, 15 - half : 15 + half, 15 - half : 15 + half, list(slices)] = True
    return out


def share(path: Path, region: str) -> float:
    """How much of a picture has about the colour of a region."""
    pixels = imread(path)[..., :3]
    hue = np.array(to_rgb(COLOURS[region])) * 0.55  # on a dark image
    return float((np.abs(pixels - hue).max(axis=-1) < 0.08).mean())


def test_a_picture_shows_the_three_parts(tmp_path: Path):
    image = np.zeros(SHAPE, dtype=np.float32)
    image[2:-2, 2:-2] = 1e-3
    image[2:4, 2:-2] = 1  # all else is dark
    empty = np.zeros((3, *SHAPE), dtype=bool)
    full, none = tmp_path / "full.png", tmp_path / "new" / "none.png"
    draw_rows(full, [[Panel("a", image, regions(5, 6)), Panel("b", image, regions(5), outline=True)]], "title")
    draw_rows(none, [[Panel("a", image, empty), Panel("b", image, empty, outline=True)]], "title")
    assert all(share(full, region) > share(none, region) + 0.005 for region in COLOURS)


def test_an_empty_image_can_be_drawn(tmp_path: Path):
    draw_rows(tmp_path / "a.png", [[Panel("a", np.zeros(SHAPE), regions(3))]], "title")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_the_reference_is_outlined_over_the_prediction(tmp_path: Path):
    image = np.zeros(SHAPE, dtype=np.float32)
    image[2:-2, 2:-2] = 1e-3
    image[2:4, 2:-2] = 1
    empty = np.zeros((3, *SHAPE), dtype=bool)
    plain, outlined = tmp_path / "plain.png", tmp_path / "outlined.png"
    draw_rows(plain, [[Panel("a", image, empty)]], "title")
    draw_rows(outlined, [[Panel("a", image, empty, reference=regions(10))]], "title")
    line = np.array(to_rgb(COLOURS["WT"]))
    share_of_line = [(np.abs(imread(path)[..., :3] - line).max(axis=-1) < 0.1).mean() for path in (plain, outlined)]
    assert share_of_line[1] > share_of_line[0] + 0.001


def test_a_last_row_may_be_short(tmp_path: Path):
    panel = Panel("a", np.zeros(SHAPE), regions(3))
    draw_rows(tmp_path / "a.png", [[panel, panel], [panel]], "title")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_the_slice_with_most_core_is_shown():
    both = regions(4)
    both[2, ..., 9] = True  # much oedema elsewhere
    assert best_slice(both) == 4
    both[:2] = False
    assert best_slice(both) == 9
    assert best_slice(np.zeros((3, *SHAPE), dtype=bool)) == 10
