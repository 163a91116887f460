"""One case over its subsets: the slice, the way round, and what is kept to draw it again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import Grid
from medmiss.evaluation import montage
from medmiss.evaluation.montage import Montage
from medmiss.evaluation.picture import Panel
from medmiss.modalities import MODALITIES, SUBSETS, subset_name

SHAPE = (16, 20, 6)
LPS, RAS = (Grid(SHAPE, np.diag(signs)) for signs in ((-1.0, -1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0)))
DICE = {subset_name(subset): {"ET": 0.1, "TC": 0.25, "WT": 1.0} for subset in SUBSETS}


def boxes(*corner: int) -> np.ndarray:
    """All three regions in the same small box, largest on slice 4."""
    out = np.zeros((3, *SHAPE), dtype=bool)
    x, y = corner
    out[:, x : x + 3, y : y + 2, 4] = True
    out[:, x, y, 1] = True
    return out


def image(modality: str) -> np.ndarray:
    """A brain of negative and positive values, another in each modality, 0 outside."""
    out = np.zeros(SHAPE, dtype=np.float32)
    values = np.linspace(-3, 3, 10 * 14 * SHAPE[2]) + MODALITIES.index(modality)
    out[3:13, 3:17] = values.reshape(10, 14, SHAPE[2])
    return out


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[Panel]]:
    """The rows that the last picture was drawn of, instead of a picture."""
    rows: list[list[Panel]] = []
    monkeypatch.setattr(montage, "draw_rows", lambda path, panels, title: rows.__setitem__(slice(None), panels))
    return rows


def test_prediction_and_reference_lie_on_one_slice(tmp_path: Path, drawn: list[list[Panel]]):
    shown = Montage(tmp_path / "montage.npz")
    for subset in SUBSETS:
        shown.add("A", subset, boxes(len(subset), 6), boxes(5, 6), LPS, image)
    assert Montage(tmp_path / "montage.npz").draw(tmp_path / "a.png", DICE)
    assert [len(row) for row in drawn] == [4, 4, 4, 4]
    first, *panels = [panel for row in drawn for panel in row]
    assert first.outline
    np.testing.assert_array_equal(first.regions[..., 0], boxes(5, 6)[..., 4])
    for subset, panel in zip(SUBSETS, panels, strict=True):
        assert panel.title == f"{marks(subset)}  {subset_name(subset)}\nET 10  TC 25  WT 100"
        np.testing.assert_array_equal(panel.regions[..., 0], boxes(len(subset), 6)[..., 4])
        np.testing.assert_array_equal(panel.reference, first.regions)


def marks(subset: tuple[str, ...]) -> str:
    return "".join("●" if modality in subset else "○" for modality in MODALITIES)


def test_below_each_mask_lies_a_modality_that_the_network_had(tmp_path: Path, drawn: list[list[Panel]]):
    shown = Montage(tmp_path / "montage.npz")
    for subset in (("t1",), ("t1c",), ("t1", "t2")):
        shown.add("A", subset, boxes(5, 6), boxes(5, 6), LPS, image)
    shown.draw(tmp_path / "a.png", DICE)
    _, *panels = [panel for row in drawn for panel in row]
    for panel, modality in zip(panels, ("t1", "t1c", "t2"), strict=True):
        brain = image(modality)[..., [4]] != 0
        np.testing.assert_array_equal(panel.image > 0, brain)
        order = np.argsort(image(modality)[..., [4]][brain])
        assert (np.diff(panel.image[brain][order]) >= 0).all()


def test_every_case_is_shown_the_same_way_round(tmp_path: Path, drawn: list[list[Panel]]):
    for grid, turn in ((LPS, lambda array: array), (RAS, lambda array: array[:, ::-1, ::-1])):
        shown = Montage(tmp_path / f"{id(grid)}.npz")
        shown.add("A", ("t1",), turn(boxes(2, 3)), turn(boxes(5, 6)), grid, image)
        shown.draw(tmp_path / "a.png", DICE)
        reference, prediction = drawn[0]
        np.testing.assert_array_equal(reference.regions[..., 0], boxes(5, 6)[..., 4])
        np.testing.assert_array_equal(prediction.regions[..., 0], boxes(2, 3)[..., 4])


def test_the_first_case_stays(tmp_path: Path):
    shown = Montage(tmp_path / "montage.npz")
    shown.add("A", ("t1",), boxes(5, 6), boxes(5, 6), LPS, image)
    before = (tmp_path / "montage.npz").read_bytes()
    shown.add("B", ("t2",), boxes(1, 1), boxes(5, 6), LPS, image)
    assert shown.case == "A" and (tmp_path / "montage.npz").read_bytes() == before


def test_each_modality_is_asked_for_once(tmp_path: Path):
    asked: list[str] = []

    def counted(modality: str) -> np.ndarray:
        asked.append(modality)
        return image(modality)

    shown = Montage(tmp_path / "montage.npz")
    for subset in SUBSETS:
        shown.add("A", subset, boxes(5, 6), boxes(5, 6), LPS, counted)
    assert sorted(asked) == sorted(MODALITIES)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"PK no zip"), lambda path: path.unlink()])
def test_without_its_file_there_is_nothing_to_draw(tmp_path: Path, damage: Callable[[Path], object]):
    path = tmp_path / "montage.npz"
    Montage(path).add("A", ("t1",), boxes(5, 6), boxes(5, 6), LPS, image)
    damage(path)
    assert not Montage(path).draw(tmp_path / "a.png", DICE)
    assert not (tmp_path / "a.png").exists()


def test_a_brain_of_nothing_can_be_drawn(tmp_path: Path):
    empty = np.zeros((3, *SHAPE), dtype=bool)
    shown = Montage(tmp_path / "montage.npz")
    shown.add("A", ("t1",), empty, empty, LPS, lambda modality: np.zeros(SHAPE, dtype=np.float32))
    assert shown.draw(tmp_path / "a.png", DICE)
    assert (tmp_path / "a.png").stat().st_size > 0
