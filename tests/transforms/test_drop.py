"""Modality drop: the distributions it promises, never an empty set, one draw a batch."""

from collections import Counter

import pytest
import torch

from medmiss.modalities import SUBSETS, presence
from medmiss.transforms import DropModalitiesd, share_present

ALL = torch.ones(4, dtype=torch.bool)
RANDOM_MODES = ("uniform_size", "uniform_subset", "bernoulli", "none")


def draws(drop, available=ALL, count=4000):
    drop.set_random_state(0)
    return [tuple(drop({"available": available})["present"].tolist()) for _ in range(count)]


def test_uniform_size_draws_the_number_first():
    found = Counter(sum(present) for present in draws(DropModalitiesd()))
    assert all(abs(found[size] / 4000 - 1 / 4) < 0.03 for size in (1, 2, 3, 4))
    table = DropModalitiesd().probabilities([0, 1, 3])
    assert table[(0, 1, 3)] == pytest.approx(1 / 3) and table[(3,)] == pytest.approx(1 / 9)


def test_max_kept_caps_the_number():
    found = Counter(sum(present) for present in draws(DropModalitiesd(max_kept=3)))
    assert set(found) == {1, 2, 3} and all(abs(share / 4000 - 1 / 3) < 0.03 for share in found.values())


def test_uniform_subset_draws_all_15_alike():
    found = Counter(draws(DropModalitiesd("uniform_subset"), count=6000))
    assert set(found) == {presence(subset) for subset in SUBSETS}
    assert all(abs(share / 6000 - 1 / 15) < 0.015 for share in found.values())


def test_bernoulli_is_conditional_on_one_kept():
    table = DropModalitiesd("bernoulli", keep_probability=0.3).probabilities([0, 1, 2, 3])
    marginal = sum(probability for subset, probability in table.items() if 2 in subset)
    assert marginal == pytest.approx(0.3 / (1 - 0.7**4))
    assert set(draws(DropModalitiesd("bernoulli", keep_probability=1.0), count=50)) == {(True,) * 4}


@pytest.mark.parametrize("mode", RANDOM_MODES)
def test_never_empty_and_only_what_is_available(mode):
    for subset in SUBSETS:
        available = torch.tensor(presence(subset))
        for present in draws(DropModalitiesd(mode, keep_probability=0.1), available, count=30):
            assert any(present) and not (torch.tensor(present) & ~available).any()
            assert mode != "none" or present == presence(subset)


def test_fixed_subset():
    drop = DropModalitiesd("FLAIR,t2")
    assert drop({"available": ALL})["present"].tolist() == [True, False, False, True]
    assert drop({"available": torch.tensor(presence(["t1", "t2"]))})["present"].tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match=r"case c7 .*FLAIR,t2"):
        drop({"available": torch.tensor(presence(["t1"])), "name": "c7"})


def test_same_state_same_draws_and_the_data_stay_as_they_are():
    drop = DropModalitiesd()
    assert draws(drop, count=40) == draws(drop, count=40)
    assert len(set(draws(drop, count=40))) > 5
    data = {"available": ALL.clone(), "image": torch.rand(4, 2, 2, 2)}
    result = drop(data)
    assert result["image"] is data["image"] and set(data) == {"available", "image"} and data["available"].all()


def test_share_present_gives_the_first_draw_to_all_and_leaves_none_empty():
    present = torch.tensor([presence(["t1", "t2"]), presence(["flair"]), presence(["t1"]), presence(["flair"])])
    available = torch.tensor([presence(SUBSETS[-1])] * 2 + [presence(["t1", "t1c"]), presence(["flair", "t1c"])])
    batch = {"present": present, "available": available}
    shared = share_present(batch)["present"]
    expected = [presence(["t1", "t2"]), presence(["t1", "t2"]), presence(["t1"]), presence(["flair"])]
    assert shared.tolist() == [list(row) for row in expected]
    assert batch["present"] is present


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"mode is 'sometimes'.*uniform_size"):
        DropModalitiesd("sometimes")
    with pytest.raises(ValueError, match="max_kept"):
        DropModalitiesd(max_kept=0)
    with pytest.raises(ValueError, match="keep_probability"):
        DropModalitiesd("bernoulli", keep_probability=0)
    with pytest.raises(ValueError, match="no available modality"):
        DropModalitiesd()({"available": ~ALL})
