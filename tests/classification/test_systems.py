"""Every system trains on Audiovision-MNIST from a seed alone, and is tested on what it is made for."""

import dataclasses

import pytest
import torch

from medmiss.classification import LeNets, build_avmnist, systems
from medmiss.classification.baselines import Imputed
from medmiss.classification.experiment import AvMnist, measure, train_system
from medmiss.classification.fitting import Recipe
from medmiss.classification.pairs import digit_sets
from medmiss.classification.systems import (
    CONSULTING,
    SYSTEMS,
    Setup,
    between_steps,
    commoner,
    may_be_missing,
    network_of,
    readable,
)

QUICK = AvMnist(Recipe(epochs=1, batch_size=32), channels=16, hidden=16)


@pytest.fixture(scope="module")
def arrays(mnist, fsdd):
    return build_avmnist(mnist, fsdd)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_trains_from_its_seed_alone(system, arrays):
    rate = 1.0 if system == "upper" else 0.5
    states, found = [], []
    for seed in (0, 0, 1) if system == "shaspec" else (0, 0):
        torch.manual_seed(int(torch.randint(1000, ())))  # whatever was drawn before
        method, sets = train_system(arrays, system, audio_rate=rate, seed=seed, how=QUICK, held_out_per_digit=2)
        states.append(torch.cat([value.double().flatten() for value in method.state_dict().values()]))
        found.append(measure(system, method, sets))
    assert torch.equal(states[0], states[1]) and found[0] == found[1]
    if len(states) > 2:
        assert not torch.equal(states[0], states[2])
    assert not method.training
    own = {"lower": {"image", "more"}, "full2miss": {"image", "more"}, "smil": {"image", "more", "both"}}
    tests = own.get(system, {"image", "more", "sound", "both"})
    held_out = {f"held_out_{test}" for test in tests - {"more"}}
    assert set(found[0]) == tests | held_out
    assert all(0 <= value <= 1 for value in found[0].values())


@pytest.mark.parametrize("system", ["shaspec", "mckd"])
def test_the_test_set_decides_nothing(system, arrays):
    """Other digits to test on, the same weights."""
    other = {
        name: array[::-1].copy() if name.startswith(("test_", "more_")) else array for name, array in arrays.items()
    }
    methods = [train_system(data, system, 0.5, how=QUICK, held_out_per_digit=2)[0] for data in (arrays, other)]
    pairs = zip(*(method.state_dict().values() for method in methods), strict=True)
    assert all(torch.equal(one, another) for one, another in pairs)


def test_what_mckd_learns_between_steps_comes_from_held_out_samples(arrays):
    """Its importance weights move, and to other values when the held-out labels are others; LCKD has elected."""
    how = dataclasses.replace(QUICK, meta_interval=1)
    learned = []
    for shift in (0, 1):
        sets = digit_sets(arrays, 0.5, held_out_per_digit=2)
        sets["held_out"].label = (sets["held_out"].label + shift) % 10
        learned.append(SYSTEMS["mckd"](how.setup(), sets).state_dict()["importance"])
    assert not torch.equal(learned[0], torch.ones(2)) and not torch.equal(*learned)
    elected = SYSTEMS["lckd"](how.setup(), digit_sets(arrays, 0.5, held_out_per_digit=2)).state_dict()["teachers"]
    assert elected.any()


def test_held_out_samples_are_those_of_systems_that_consult_some(arrays, monkeypatch):
    for system in SYSTEMS:
        monkeypatch.setitem(SYSTEMS, system, lambda setup, sets: torch.nn.Identity())
    how = dataclasses.replace(QUICK, drop="none")
    monkeypatch.setattr("medmiss.classification.experiment.HELD_OUT", 3)
    for system in SYSTEMS:
        _, sets = train_system(arrays, system, how=how)
        assert len(sets["held_out"]) == (30 if system in CONSULTING else 0)
        assert len(sets["held_out"]) + len(sets["train"]) == 90


def test_the_lower_bound_knows_one_modality(arrays):
    for rates, modality in (((0.5, 1.0), 0), ((1.0, 0.5), 1)):
        sets = digit_sets(arrays, *rates, held_out_per_digit=2)
        assert commoner(sets["train"].shares) == modality
        assert readable("lower", sets["train"].shares) == [(modality,)]
        method, _ = train_system(arrays, "lower", *rates, how=QUICK)
        other = {**arrays}
        name = f"train_{('sound', 'image')[modality]}"
        other[name] = arrays[name][::-1].copy()
        again, _ = train_system(other, "lower", *rates, how=QUICK)
        assert all(torch.equal(a, b) for a, b in zip(method.parameters(), again.parameters(), strict=True))


def test_full2miss_learns_from_samples_that_have_its_modality(arrays, monkeypatch):
    fitted = []

    def trained(setup, make, samples):
        fitted.append(samples)
        return torch.nn.Identity()

    monkeypatch.setattr(systems, "trained", trained)
    sets = digit_sets(arrays, 0.5, 0.7, held_out_per_digit=2)
    assert commoner(sets["train"].shares) == 0
    SYSTEMS["full2miss"](QUICK.setup(), sets)
    teachers, students = (samples.available for samples in fitted)
    assert students[:, 0].all() and len(students) == sets["train"].available[:, 0].sum() < len(sets["train"])
    assert students.all(dim=1).sum() == len(teachers) > 0


def test_mmanets_teacher_learns_from_complete_samples_alone(arrays, monkeypatch):
    sets = digit_sets(arrays, 0.5, held_out_per_digit=2)
    fitted = []

    def record(method, samples, *others):
        fitted.append(samples.available)
        return method

    monkeypatch.setattr(systems, "fit", record)
    setup = QUICK.setup()
    between_steps(network_of("mmanet", setup), sets, setup)
    (rows,) = fitted
    assert len(rows) == sets["train"].available.all(dim=1).sum() > 0
    assert rows.all()


@pytest.mark.parametrize("system", ["autoencoder", "gan"])
def test_the_network_is_trained_on_samples_that_the_imputer_has_completed(arrays, monkeypatch, system):
    fitted, original = [], systems.trained

    def trained(setup, make, samples):
        fitted.append(samples)
        return original(setup, make, samples)

    monkeypatch.setattr(systems, "trained", trained)
    sets = digit_sets(arrays, 0.5, held_out_per_digit=2)
    method = SYSTEMS[system](QUICK.setup(), sets)
    complete, filled = fitted
    assert complete.available.all() and len(complete) < len(filled) == len(sets["train"])
    assert filled.available.all()
    assert isinstance(method, Imputed)
    with torch.no_grad():
        wanted = method.imputer(sets["train"].image, sets["train"].available)
    torch.testing.assert_close(filled.image, wanted)
    assert not method.training


def test_what_lckd_elects_with_is_on_the_networks_device(arrays):
    setup, sets = QUICK.setup(), digit_sets(arrays, 0.5, held_out_per_digit=2)
    (election,) = between_steps(network_of("lckd", setup).to("meta"), sets, setup)
    assert election.evaluator.state.device == torch.device("meta")


def test_smil_may_lack_what_training_lacked(arrays):
    for rates, missing, subsets in (
        ((0.5, 1.0), [1], [(0,), (0, 1)]),
        ((1.0, 0.5), [0], [(1,), (0, 1)]),
        ((0.5, 0.5), [0, 1], [(0,), (1,), (0, 1)]),
        ((1.0, 1.0), [1], [(0,), (0, 1)]),
    ):
        sets = digit_sets(arrays, *rates, held_out_per_digit=2)
        assert may_be_missing(sets["train"].shares) == missing
        assert readable("smil", sets["train"].shares) == subsets


def test_the_recipe_is_the_one_that_was_asked_for(arrays, monkeypatch):
    seen: list[torch.optim.Optimizer] = []
    monkeypatch.setattr(torch.optim, "Adam", _recorded(torch.optim.Adam, seen))
    recipe = Recipe(epochs=3, batch_size=45, learning_rate=0.01, decay=0.5, decay_epochs=1, weight_decay=0.02)
    sets = digit_sets(arrays, held_out_per_digit=0)
    SYSTEMS["upper"](Setup(LeNets(8, 8), recipe=recipe), sets)
    (optimizer,) = seen
    (group,) = optimizer.param_groups
    assert (group["initial_lr"], group["weight_decay"]) == (0.01, 0.02)
    assert group["lr"] == pytest.approx(0.01 * 0.5**3)
    assert optimizer.state[group["params"][0]]["step"] == 3 * 2


def _recorded(original, seen):
    def make(*args, **options):
        seen.append(original(*args, **options))
        return seen[-1]

    return make


def test_a_rate_that_leaves_nothing_is_refused_where_it_matters(arrays):
    with pytest.raises(ValueError, match=r"0\.04 of the sounds and 1\.0 of the images leave no sound"):
        train_system(arrays, "shaspec", audio_rate=0.04, how=QUICK)
    method, sets = train_system(arrays, "lower", audio_rate=0.04, how=QUICK)
    assert measure("lower", method, sets)["image"] >= 0
    assert all(bool(each.image.isfinite().all()) for each in sets.values())
