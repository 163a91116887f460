"""Which cases train, and what an item depends on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, RandScaleIntensityd

from medmiss.cases import CaseError, read_split
from medmiss.phantom import MakePhantomd, phantom_recipes
from medmiss.training import CachedCases, EpochSampler, SeededDataset, ShardSampler, ValidationDataset
from medmiss.training.cases import labelled_cases, partition
from medmiss.transforms import CropForegroundd, DropModalitiesd, LoadCased, NormalizeModalitiesd

PREPARATION = Compose([LoadCased(label=True), NormalizeModalitiesd(), CropForegroundd()])
KEYS = ("image", "present", "available", "label")


class Numbers:
    """Stands for prepared cases: item i is the tensor i."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"value": torch.full((1, 2), index + 1.0)}


def numbers(seed: int = 0, repeat: int = 1) -> SeededDataset:
    return SeededDataset(Numbers(), RandScaleIntensityd("value", factors=0.5, prob=1.0), seed, repeat)


def test_an_item_depends_on_seed_epoch_and_index_alone():
    data = numbers(repeat=2)
    first = data[(3, 1)]["value"]
    for other in ((3, 0), (4, 1), (3, 5)):
        data[other]
    assert torch.equal(data[(3, 1)]["value"], first)
    assert not torch.equal(data[(4, 1)]["value"], first)
    assert not torch.equal(data[(3, 5)]["value"], first), "the same case visited again in an epoch"
    assert not torch.equal(numbers(seed=1)[(3, 1)]["value"], first)


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_are_the_same_with_any_number_of_workers(workers: int):
    data = numbers()
    sampler = EpochSampler(data, seed=5)
    loader = DataLoader(data, sampler=sampler, batch_size=2, num_workers=workers, persistent_workers=workers > 0)
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == [(epoch, index) for index in range(4)]
        found = torch.cat([batch["value"] for batch in loader])
        assert torch.equal(found, torch.stack([data[key]["value"] for key in order]))
    sampler.set_epoch(1)
    assert list(sampler) != [(1, index) for _, index in order], "each epoch has an order of its own"


def test_a_part_without_a_case_is_an_error_that_names_the_remedy_for_each_part():
    with pytest.raises(ValueError, match=r'a smaller validation part; .* held_out_fraction .* "held_out" in the split'):
        SeededDataset([], PREPARATION)


def test_cases_without_a_label_or_a_modality_are_left_out(tmp_path: Path, write_dataset: Callable, caplog):
    write_dataset(tmp_path / "all", 3)
    unlabelled, only_t1 = tmp_path / "all" / "case_1", tmp_path / "all" / "case_2"
    next(unlabelled.glob("*seg*")).unlink()
    for path in only_t1.glob("*"):
        if not path.name.endswith(("_t1.nii.gz", "_seg.nii.gz")):
            path.unlink()
    assert [case.name for case in labelled_cases(tmp_path / "all")] == ["case_0", "case_2"]
    (case,) = labelled_cases(tmp_path / "all", "flair,t2")
    assert (case.name, case.available) == ("case_0", ("flair", "t2"))
    assert "case_1" in caplog.text
    assert "case_2" in caplog.text
    shutil.rmtree(tmp_path / "all" / "case_0")
    with pytest.raises(CaseError, match="no usable case"):
        labelled_cases(tmp_path / "all", "flair,t2")


def test_a_split_is_drawn_recorded_and_read_again(dataset: Path, tmp_path: Path):
    cases = labelled_cases(dataset)
    drawn = partition(cases, val_fraction=0.34, seed=1, record=tmp_path / "a" / "splits.json")
    assert (len(drawn["train"]), len(drawn["val"])) == (4, 2)
    assert partition(cases, file=tmp_path / "a" / "splits.json") == drawn
    names = {part: [case.name for case in drawn[part]] for part in drawn}
    assert read_split(tmp_path / "a" / "splits.json") == names
    assert [len(part) for part in partition(cases, val_fraction=0).values()] == [6, 0, 0]


def test_a_prepared_case_is_computed_once_and_anew_when_its_file_changes(tmp_path: Path, write_dataset: Callable):
    cases = labelled_cases(write_dataset(tmp_path / "data", 1))

    def cached(margin: int = 4) -> CachedCases:
        steps = [LoadCased(label=True), NormalizeModalitiesd(), CropForegroundd(margin)]
        return CachedCases(cases, Compose(steps), folder=tmp_path / "cache")

    first = cached()[0]
    assert set(first) == {"image", "label", "available"}
    (file,) = (tmp_path / "cache").iterdir()
    torch.save({"image": torch.zeros(1)}, file)
    assert cached()[0]["image"].shape == (1,), "read from the folder"
    os.utime(cases[0].images["t1"].path, ns=(1, 1))
    assert torch.equal(cached()[0]["image"], first["image"]), "computed anew: the file changed"
    assert cached(margin=0)[0]["image"].shape != first["image"].shape, "computed anew: the transform changed"


def test_a_phantom_is_made_anew_when_its_atlas_changes(tmp_path: Path):
    atlas = tmp_path / "atlas"
    atlas.mkdir()
    for name in ("tissues", "spgr", "late", "erly"):
        (atlas / f"{name}.nii.gz").write_bytes(b"a volume")

    def cached(tissues: Path | None) -> list[Path] | None:
        return CachedCases(phantom_recipes(2, tissues=tissues), MakePhantomd(), folder=tmp_path / "cache").files

    before = [cached(tissues) for tissues in (atlas, atlas / "tissues.nii.gz", None)]
    assert [cached(tissues) for tissues in (atlas, atlas / "tissues.nii.gz", None)] == before
    for name in ("tissues", "spgr", "late", "erly"):
        os.utime(atlas / f"{name}.nii.gz", ns=(1, 1))
    assert [cached(tissues) for tissues in (atlas, atlas / "tissues.nii.gz", None)] == before, "copied, not changed"
    (atlas / "late.nii.gz").write_bytes(b"another")
    changed = [cached(tissues) for tissues in (atlas, atlas / "tissues.nii.gz", None)]
    assert [one == other for one, other in zip(before, changed, strict=True)] == [False, True, True]


def test_validation_items_are_cases_by_subset(tmp_path: Path, write_dataset: Callable):
    write_dataset(tmp_path, 2)
    next((tmp_path / "case_1").glob("*_t2.*")).unlink()
    data = CachedCases(labelled_cases(tmp_path), PREPARATION)
    items = ValidationDataset(data, ["all", "t2", "flair,t1"])
    assert items.subset_names == ["all", "T2", "FLAIR+T1"]
    found = [(items[row]["row"].tolist(), items[row]["present"].tolist()) for row in range(len(items))]
    assert found == [
        ([0, 0], [True] * 4),
        ([1, 1], [False, False, False, True]),
        ([2, 2], [True, True, False, False]),
        ([3, 0], [True, True, True, False]),
        ([4, 2], [True, True, False, False]),
    ]
    assert list(ShardSampler(items)) == [0, 1, 2, 3, 4]


def test_a_training_item_has_what_a_method_needs(dataset: Path):
    data = CachedCases(labelled_cases(dataset), PREPARATION)
    item = SeededDataset(data, DropModalitiesd())[(1, 2)]
    assert {key: tuple(item[key].shape[:1]) for key in KEYS} == {
        "image": (4,),
        "present": (4,),
        "available": (4,),
        "label": (3,),
    }
    assert all(type(item[key]) is torch.Tensor for key in KEYS)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_case_that_cannot_be_read_is_named(tmp_path: Path, write_dataset: Callable, workers: int):
    cases = labelled_cases(write_dataset(tmp_path, 1))
    file = cases[0].images["t2"].path
    file.write_bytes(file.read_bytes()[:200])
    loader = DataLoader(CachedCases(cases, PREPARATION), num_workers=workers)
    with pytest.raises(ValueError, match=r"case case_0, file .*t2.*leave the case out with a split file"):
        next(iter(loader))
