"""The systems that the papers compare with."""

import pytest
import torch
from torch import Tensor, nn

from medmiss.classification import LeNets
from medmiss.classification.baselines import GAN, AutoEncoder, Full2Miss, Imputed
from medmiss.methods import ModalityDropout

AVAILABLE = torch.tensor([[True, True], [True, False], [False, True], [True, True]])


@pytest.fixture
def image() -> Tensor:
    return torch.rand(4, 2, 28, 28, generator=torch.Generator().manual_seed(0))


def plain() -> ModalityDropout:
    return ModalityDropout(LeNets(8, 8), 2, "zero", task_loss=nn.CrossEntropyLoss())


@pytest.mark.parametrize("make", [AutoEncoder, GAN])
def test_what_is_missing_is_made_from_what_is_there(make: type[AutoEncoder], image: Tensor):
    imputer = make().eval()
    spoilt = image.clone()
    spoilt[~AVAILABLE] = float("nan")
    filled = imputer(spoilt, AVAILABLE)
    assert torch.equal(filled[AVAILABLE], image[AVAILABLE])
    made = imputer.made(image)
    torch.testing.assert_close(filled[~AVAILABLE], made[~AVAILABLE])
    other = image.clone()
    other[1, 0] += 1
    assert (imputer(other, AVAILABLE)[1, 1] - filled[1, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("make", [AutoEncoder, GAN])
def test_complete_samples_alone_are_learned_from(make: type[AutoEncoder], image: Tensor):
    torch.manual_seed(0)
    imputer = make()
    spoilt = image.clone()
    spoilt[~AVAILABLE] = float("nan")
    whole = AVAILABLE.all(dim=1)
    arguments = [(image[whole], AVAILABLE[whole]), (spoilt, AVAILABLE)]
    terms = [imputer.loss_terms(each, rows, torch.zeros(len(each)), rows) for each, rows in arguments]
    for name, value in terms[0].items():
        torch.testing.assert_close(terms[1][name], value)
    none = imputer.loss_terms(spoilt[1:3], AVAILABLE[1:3], torch.zeros(2), AVAILABLE[1:3])
    assert all(value.item() == 0 for value in none.values())
    torch.stack(list(none.values())).sum().backward()
    optimizer = torch.optim.Adam(imputer.parameters(), 1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        torch.stack(list(imputer.loss_terms(image, AVAILABLE, torch.zeros(4), AVAILABLE).values())).sum().backward()
        optimizer.step()
    made, error = imputer.made(image[whole]), nn.functional.mse_loss
    assert error(made, image[whole]) < image[whole].var()


def test_one_step_moves_both_sides_of_the_game(image: Tensor):
    torch.manual_seed(0)
    gan = GAN(weight=0.0)
    everything = torch.ones(4, 2, dtype=torch.bool)

    def game() -> Tensor:
        return gan.loss_terms(image, everything, torch.zeros(4), everything)["game"]

    before = game()
    gradients = torch.autograd.grad(before, list(gan.parameters()))
    named = dict(zip(dict(gan.named_parameters()), gradients, strict=True))
    for side, falls in (("discriminators.", True), ("translators.", False)):
        original = {name: value.detach().clone() for name, value in gan.state_dict().items()}
        with torch.no_grad():
            for name, value in gan.named_parameters():
                if name.startswith(side):
                    value.sub_(0.05 * named[name])
        assert (game() < before) == falls, side
        gan.load_state_dict(original)


def test_the_classifier_sees_completed_samples(image: Tensor):
    imputer = AutoEncoder()
    method = Imputed(imputer, plain()).eval()
    everything = torch.ones_like(AVAILABLE)
    torch.testing.assert_close(method(image, AVAILABLE), method.network(imputer(image, AVAILABLE), everything))


def test_a_teacher_of_both_teaches_a_student_of_one(image: Tensor):
    torch.manual_seed(0)
    teacher, label = plain(), torch.tensor([0, 1, 2, 3])
    student = Full2Miss(LeNets(8, 8), teacher).eval()
    with_image = AVAILABLE.clone()
    with_image[:, 0] = True
    spoilt = image.clone()
    spoilt[:, 1] = float("nan")
    alone = torch.tensor([[True, False]]).expand(4, 2)
    assert torch.equal(student(spoilt), student(image, with_image))
    assert float(student.loss_terms(spoilt, alone, label, alone)["distillation"]) == 0
    taught = float(student.loss_terms(image, with_image, label, with_image)["distillation"].detach())
    assert taught > 0
    assert not any(name.startswith("_teacher") for name in student.state_dict())
    # A student that predicts what the teacher does has nothing to learn from it.
    same = Full2Miss(LeNets(8, 8), student).eval()
    same.load_state_dict(student.state_dict())
    nothing = float(same.loss_terms(image, with_image, label, with_image)["distillation"].detach())
    assert nothing == pytest.approx(0, abs=1e-6)
