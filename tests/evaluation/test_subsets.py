"""The loop over cases and subsets: nothing is measured twice, nothing is lost, one bad case harms no other."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medmiss.cases import CONVENTIONS, LAYOUTS, Case, CaseError, Grid, find_cases, write_case
from medmiss.evaluation import evaluate_regions, region_dice
from medmiss.evaluation.subsets import COLUMNS, RECORDED, SubsetRun, measure
from medmiss.modalities import MODALITIES, SUBSETS, Subset, subset_name

SHAPE = (12, 10, 8)
GRID = Grid(SHAPE, np.diag([-1.0, -1.0, 1.0, 1.0]))
LABEL = np.zeros(SHAPE, dtype=np.uint8)
LABEL[2:9, 2:8, 2:6] = 2
LABEL[3:7, 3:6, 3:5] = 1
LABEL[4:6, 4:6, 3:5] = 4
REFERENCE = CONVENTIONS["brats2018"].regions(LABEL)


@dataclass(frozen=True)
class Mask:
    raw: np.ndarray
    regions: np.ndarray
    grid: Grid = GRID


def mask_of(subset: Subset) -> Mask:
    """The reference shifted by so many voxels as modalities are missing; post-processing takes a slice away."""
    raw = np.roll(REFERENCE, 4 - len(subset), axis=1)
    regions = raw.copy()
    regions[..., 3] = False
    return Mask(raw, regions)


class Network:
    """Stands in for one: remembers what it was asked, and stops like a killed process when told to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[tuple[str, Subset]] = []
        self.stop_after = stop_after

    def __call__(self, case: Case) -> "Opened":
        return Opened(self, case)


class Opened:
    def __init__(self, network: Network, case: Case) -> None:
        self.network, self.case = network, case

    def segment(self, subset: Subset) -> Mask:
        if len(self.network.asked) == self.network.stop_after:
            raise KeyboardInterrupt
        self.network.asked.append((self.case.name, subset))
        if self.case.name == "C" and "t1" in subset:
            raise CaseError("C", "a broken T1", "a volume", "replace it")
        return mask_of(subset)

    def image(self, modality: str) -> np.ndarray:
        return np.ones(SHAPE, dtype=np.float32)


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Case]:
    """A and C with all modalities, B with two of them, D without a label."""
    image = np.zeros(SHAPE, dtype=np.float32)
    image[1:-1, 1:-1, 1:-1] = 1 + np.arange(6)
    for name in "ABCD":
        has = ("flair", "t1c") if name == "B" else MODALITIES
        label = None if name == "D" else LABEL
        write_case(tmp_path / "cases", LAYOUTS["brats2018"], name, dict.fromkeys(has, image), GRID, label)
    return {case.name: case for case in find_cases(tmp_path / "cases")}


def work(*cases: Case) -> list[tuple[Case, list[Subset]]]:
    return [(case, [subset for subset in SUBSETS if set(subset) <= set(case.available)]) for case in cases]


def go(run: SubsetRun, network: Network, *cases: Case):
    return measure(run, work(*cases), network, lambda case, error: str(error), progress=False)


def test_each_line_is_what_the_protocol_says(tmp_path: Path, cases: dict[str, Case]):
    run = SubsetRun(tmp_path / "out")
    assert go(run, Network(), cases["B"]) == []
    table = pd.read_csv(tmp_path / "out" / "subsets.csv")
    assert tuple(table.columns) == COLUMNS
    assert table["subset"].drop_duplicates().tolist() == ["FLAIR", "T1c", "FLAIR+T1c"]
    for subset in (("flair",), ("flair", "t1c")):
        lines = table[table["subset"] == subset_name(subset)].set_index("region")
        mask = mask_of(subset)
        expected = evaluate_regions(mask.regions, REFERENCE, GRID, "literature")
        assert lines["dice"].to_dict() == pytest.approx(region_dice(mask.raw, REFERENCE), abs=1e-6)
        for region, values in expected.items():
            assert lines["dice_postprocessed"][region] == pytest.approx(values["dice"], abs=1e-6)
            assert lines["hd95"][region] == pytest.approx(values["hd95"], abs=1e-4)
    assert (table["dice"] != table["dice_postprocessed"]).any()


@pytest.mark.parametrize("stop", [0, 1, 7, 16])
def test_a_killed_run_goes_on_and_repeats_nothing(tmp_path: Path, cases: dict[str, Case], stop: int):
    whole = SubsetRun(tmp_path / "whole")
    go(whole, Network(), cases["A"], cases["B"])
    killed, second = Network(stop_after=stop), Network()
    with pytest.raises(KeyboardInterrupt):
        go(SubsetRun(tmp_path / "out"), killed, cases["A"], cases["B"])
    assert len(SubsetRun(tmp_path / "out")) == stop
    go(SubsetRun(tmp_path / "out"), second, cases["A"], cases["B"])
    everything = work(cases["A"], cases["B"])
    assert killed.asked + second.asked == [(case.name, subset) for case, subsets in everything for subset in subsets]
    assert (tmp_path / "out" / "subsets.csv").read_bytes() == (tmp_path / "whole" / "subsets.csv").read_bytes()
    kept = Path(".medmiss") / "montage.npz"
    with np.load(tmp_path / "out" / kept) as one, np.load(tmp_path / "whole" / kept) as other:
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_finished_run_asks_nothing(tmp_path: Path, cases: dict[str, Case]):
    go(SubsetRun(tmp_path), Network(), cases["A"])
    again = Network()
    go(SubsetRun(tmp_path), again, cases["A"])
    assert again.asked == []


def test_other_cases_and_subsets_are_added_in_order(tmp_path: Path, cases: dict[str, Case]):
    run = SubsetRun(tmp_path)
    measure(run, [(cases["A"], [SUBSETS[-1]])], Network(), lambda case, error: str(error), progress=False)
    go(SubsetRun(tmp_path), Network(), cases["B"], cases["A"])
    scores = SubsetRun(tmp_path).scores()
    assert scores["case"].drop_duplicates().tolist() == ["A", "B"]
    own = scores[scores["case"] == "A"]
    assert own["subset"].drop_duplicates().tolist() == [subset_name(subset) for subset in SUBSETS]
    assert len(scores) == 3 * (15 + 3)


def test_what_is_wrong_with_one_case_harms_no_other(tmp_path: Path, cases: dict[str, Case]):
    problem = Case("E", {}, problem=CaseError("E", "an odd folder", "a case", "mend it"))
    run = SubsetRun(tmp_path)
    network = Network()
    failures = go(run, network, cases["C"], cases["D"], problem, cases["B"])
    assert [failure.subset for failure in failures if failure.case == "C"] == [s for s in SUBSETS if "t1" in s]
    (of_d,) = (failure.reason for failure in failures if failure.case == "D")
    (of_e,) = (failure.reason for failure in failures if failure.case == "E")
    assert "no label file" in of_d and "an odd folder" in of_e
    assert {name for name, _ in network.asked} == {"C", "B"}
    counts = run.scores().groupby("case")["subset"].nunique()
    assert counts.to_dict() == {"C": 7, "B": 3}


def test_a_label_on_another_grid_is_no_reference(
    tmp_path: Path, cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch
):
    elsewhere = Grid(SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0]))
    monkeypatch.setattr(Opened, "segment", lambda self, subset: Mask(REFERENCE, REFERENCE, elsewhere))
    failures = go(SubsetRun(tmp_path), Network(), cases["B"])
    assert len(failures) == 3 and all("two grids" in failure.reason for failure in failures)


def test_the_montage_is_of_a_case_with_most_subsets(tmp_path: Path, cases: dict[str, Case]):
    run = SubsetRun(tmp_path)
    go(run, Network(), cases["B"], cases["A"])
    assert run.montage.case == "A"


def test_clearing_forgets_everything(tmp_path: Path, cases: dict[str, Case]):
    run = SubsetRun(tmp_path)
    run.begin({})
    go(run, Network(), cases["A"])
    run.clear()
    assert len(SubsetRun(tmp_path)) == 0 and run.montage.case is None
    assert not list(tmp_path.rglob("*.npz")) and not (tmp_path / "settings.json").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("subsets.csv", "a,b\n1,2\n"),
        ("subsets.csv", "case,subset,region,dice,dice_postprocessed,hd95\nA,FLAIR+CT,ET,1,1,0\n"),
        ("subsets.csv", "case,subset,region,dice,dice_postprocessed,hd95\nA,FLAIR,ET,1,good,0\n"),
        ("settings.json", "[1, 2"),
        ("settings.json", '{"settings": {}}'),
    ],
)
def test_a_foreign_file_is_said_to_be_one(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(CaseError, match=name):
        SubsetRun(tmp_path)


def test_a_name_that_pandas_would_take_for_nothing_stays(tmp_path: Path, cases: dict[str, Case]):
    run = SubsetRun(tmp_path)
    for name in ("NA", "007"):
        run.add(name, ("flair",), [dict.fromkeys(COLUMNS, 0.5) | {"case": name, "subset": "FLAIR", "region": "ET"}])
    assert SubsetRun(tmp_path).scores()["case"].tolist() == ["NA", "007"]
    assert json.dumps(SubsetRun(tmp_path).record) == "null"


def test_two_processes_measure_into_one_folder(tmp_path: Path, cases: dict[str, Case]):
    first, second = SubsetRun(tmp_path / "out"), SubsetRun(tmp_path / "out")
    for run, name in ((first, "A"), (second, "B")):
        run.begin({"cases": {name: {}}, **dict.fromkeys(RECORDED - {"cases"})})
    measure(first, [(cases["A"], SUBSETS[-1:])], Network(), lambda case, error: str(error), progress=False)
    measure(second, [(cases["B"], [("flair", "t2")])], Network(), lambda case, error: str(error), progress=False)
    both = SubsetRun(tmp_path / "out")
    assert (both.has("A", SUBSETS[-1]), both.has("B", ("flair", "t2")), len(both)) == (True, True, 2)
    assert both.record is not None and list(both.record["cases"]) == ["A", "B"]
