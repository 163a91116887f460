"""What a batch of digits holds, who is chosen, and that the draws come from (seed, epoch, index) alone."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medmiss.classification import BySubset, PairedDigits, ShuffledBatches, build_avmnist, digit_sets
from medmiss.classification.pairs import spread


@pytest.fixture(scope="module")
def arrays(mnist, fsdd):
    return build_avmnist(mnist, fsdd)


def make(drop="none", seed=0):
    """Twelve samples: image alone, sound alone, both, and again; what is not available is NaN."""
    available = torch.tensor([[True, False], [False, True], [True, True]]).repeat(4, 1)
    image = torch.arange(24.0).reshape(12, 2, 1, 1).repeat(1, 1, 28, 28)
    image[~available] = float("nan")
    return PairedDigits(image, available, torch.arange(12), drop, seed)


def test_a_batch_has_its_samples():
    batch = make()[0, np.array([4, 2])]
    assert batch["label"].tolist() == [4, 2]
    assert batch["available"].tolist() == batch["present"].tolist() == [[False, True], [True, True]]
    assert batch["image"][:, :, 3, 3].tolist() == [[0, 9], [4, 5]]


def test_what_is_present_is_drawn_from_what_is_available():
    pairs = make("uniform_size")
    rows = [pairs[epoch, np.arange(12)]["present"] for epoch in range(200)]
    present = torch.stack(rows)
    assert (present <= pairs.available).all()
    assert present.any(dim=2).all()
    both = present[:, 2::3].reshape(-1, 2)
    # Either one or both, alike; then which of them, alike. 800 draws: four standard errors are 0.07.
    assert both.all(dim=1).float().mean() == pytest.approx(0.5, abs=0.07)
    assert (both == torch.tensor([True, False])).all(dim=1).float().mean() == pytest.approx(0.25, abs=0.07)


def test_a_draw_depends_on_seed_epoch_and_index_alone():
    pairs, order = make("uniform_size", 3), np.array([11, 2, 5])
    whole = pairs[7, np.arange(12)]["present"]
    assert (pairs[7, order]["present"] == whole[order]).all()
    others = [make("uniform_size", 4)[7, np.arange(12)]["present"], pairs[8, np.arange(12)]["present"]]
    assert all((other != whole).any() for other in others)


def test_using_one_modality_leaves_out_who_lacks_it():
    image = make("uniform_size").using(0).whole()
    assert image["label"].tolist() == [0, 2, 3, 5, 6, 8, 9, 11]
    assert image["present"].tolist() == [[True, False]] * 8
    assert not image["image"][:, 1].any()
    assert len(make().using(0, 1)) == 4


def test_a_sample_with_nothing_is_refused():
    with pytest.raises(ValueError, match="neither of its two modalities"):
        PairedDigits(torch.zeros(1, 2, 28, 28), torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1))


def test_an_epoch_visits_each_sample_once_in_an_order_of_its_own():
    pairs = make()
    sampler = ShuffledBatches(pairs, 5, seed=1)
    loader = DataLoader(pairs, sampler=sampler, batch_size=None)
    orders: list[list[int]] = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        batches = [batch["label"].tolist() for batch in loader]
        assert [len(batch) for batch in batches] == [5, 5, 2]
        assert len(loader) == 3
        orders.append([label for batch in batches for label in batch])
    assert sorted(orders[0]) == list(range(12))
    assert orders[0] == orders[2] != orders[1]


def test_a_rate_is_that_of_each_digit_and_spread_over_the_speakers(arrays):
    train = digit_sets(arrays, audio_rate=0.5, held_out_per_digit=1, seed=0)["train"]
    assert len(train) == 80
    assert train.available[:, 0].all()
    assert all(train.available[train.label == digit, 1].sum() == 4 for digit in range(10))
    another = digit_sets(arrays, audio_rate=0.5, held_out_per_digit=1, seed=1)["train"]
    assert (another.available != train.available).any()
    assert not train.image[~train.available].any()


def test_spread_differs_by_one_at_most_between_speakers():
    label, speaker = np.repeat([0, 1], 30), np.tile(np.arange(3), 20)
    chosen = spread(label, speaker, np.array([5, 12]), np.random.default_rng(0))
    for digit, expected in ((0, [1, 2, 2]), (1, [4, 4, 4])):
        assert sorted(np.bincount(speaker[chosen & (label == digit)], minlength=3)) == expected


def test_held_out_samples_are_the_same_for_all_seeds_and_not_trained_on(arrays):
    first, second = (digit_sets(arrays, held_out_per_digit=2, seed=seed) for seed in (0, 1))
    assert (first["held_out"].image == second["held_out"].image).all()
    assert (len(first["held_out"]), len(first["train"])) == (20, 70)
    held_out = {image.numpy().tobytes() for image in first["held_out"].image[:, 0]}
    assert held_out.isdisjoint(image.numpy().tobytes() for image in first["train"].image[:, 0])
    assert held_out <= {(image / 255).astype(np.float32).tobytes() for image in arrays["train_image"]}


def test_without_image_and_sound_a_sample_is_left_out(arrays):
    sets = digit_sets(arrays, audio_rate=0.25, image_rate=0.25, held_out_per_digit=1)
    assert 20 <= len(sets["train"]) <= 40
    assert sets["train"].available.any(dim=1).all()
    assert len(sets["test"]) == 60
    assert not sets["more"].available[:, 1].any()


def test_sounds_are_scaled_by_those_that_are_there(arrays):
    before = digit_sets(arrays, audio_rate=0.25, held_out_per_digit=1)
    sounds = before["train"].image[before["train"].available[:, 1], 1, :20, :20]
    assert sounds.mean(dim=(0, 2)).abs().max() < 1e-3
    assert (sounds.std(dim=(0, 2)) - 1).abs().max() < 1e-2
    changed = {name: array.copy() for name, array in arrays.items()}
    unused = ~np.isin(arrays["train_image"].reshape(90, -1) @ np.ones(784), _sums(before, arrays))
    changed["train_sound"][unused] = 1e6
    after = digit_sets(changed, audio_rate=0.25, held_out_per_digit=1)
    assert (after["test"].image == before["test"].image).all()


def _sums(sets, arrays):
    """The sums of the images whose sounds are trained on: they tell the images apart."""
    train = sets["train"]
    return (train.image[train.available[:, 1], 0].double() * 255).round().sum(dim=(1, 2)).numpy()


@pytest.mark.parametrize("options", [{"audio_rate": 0}, {"image_rate": 1.1}, {"held_out_per_digit": 9}])
def test_options_out_of_range_are_refused(arrays, options):
    with pytest.raises(ValueError, match=r"rate is|nothing is left"):
        digit_sets(arrays, **options)


def test_samples_are_evaluated_with_each_subset_that_they_have():
    items = BySubset(make(), [(0,), (1,), (0, 1)], batch_size=3)
    assert items.subset_names == ["image", "sound", "image+sound"]
    batches = [items[index] for index in range(len(items))]
    assert [len(batch["label"]) for batch in batches] == [3, 3, 2, 3, 3, 2, 3, 1]
    rows = torch.cat([batch["row"] for batch in batches])
    assert rows[:, 0].tolist() == list(range(20))
    assert rows[:, 1].tolist() == [0] * 8 + [1] * 8 + [2] * 4
    assert torch.cat([batch["label"] for batch in batches])[:8].tolist() == [0, 2, 3, 5, 6, 8, 9, 11]
    for batch in batches:
        wanted = torch.tensor([[True, False], [False, True], [True, True]])[batch["row"][:, 1]]
        assert (batch["present"] == wanted).all()


def test_completed_samples_use_both_modalities_at_every_visit():
    pairs = make("uniform_size")

    def fill(image: Tensor, present: Tensor) -> Tensor:
        assert torch.equal(present, pairs.available)
        return torch.where(present[:, :, None, None], image, torch.tensor(7.0))

    whole = pairs.completed(fill)[3, np.arange(12)]
    assert whole["present"].all()
    assert whole["available"].all()
    lacking = ~pairs.available
    assert lacking.any()
    assert (whole["image"][lacking] == 7).all()
    assert torch.equal(whole["image"][~lacking], pairs.image[~lacking])
    assert torch.equal(whole["label"], pairs.label)


def test_the_shares_of_the_samples_that_have_each_modality():
    pairs = make()
    assert pairs.shares == (8 / 12, 8 / 12)
    assert pairs.using(0).shares == (1, 0)


def test_neighbouring_seeds_share_no_order():
    pairs = make()

    def order(seed: int, epoch: int) -> list[int]:
        sampler = ShuffledBatches(pairs, len(pairs), seed)
        sampler.set_epoch(epoch)
        ((_, rows),) = sampler
        return rows.tolist()

    orders = {tuple(order(seed, epoch)) for seed in range(4) for epoch in range(5)}
    assert len(orders) == 20
