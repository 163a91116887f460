"""MMANet: its terms against the equations, the teacher outside, the head that is not deployed, the leak rule."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmiss.losses import RegionLoss
from medmiss.methods import MMANet, ModalityDropout
from medmiss.networks import LightUNet, ResNetASPP, completed
from medmiss.training import LossTerms, WeightAverage


def teacher_network(channels: tuple[int, ...] = (4, 6)) -> ModalityDropout:
    torch.manual_seed(5)
    return ModalityDropout(LightUNet(channels))


def mmanet(**options: Any) -> MMANet:
    """A student of two levels, with a narrower teacher."""
    torch.manual_seed(0)
    method = MMANet(LightUNet((4, 8)), **options)
    method.attach_teacher(teacher_network())
    return method


@pytest.fixture
def available(present: Tensor) -> Tensor:
    """Samples 0 and 2 have what is present, the others everything."""
    available = present.clone()
    available[[1, 3, 4]] = True
    return available


def subsets(*flags: str) -> Tensor:
    return torch.tensor([[flag == "1" for flag in each] for each in flags])


def weak_subsets(method: MMANet) -> set[str]:
    codes = method.weak.nonzero().flatten().tolist()
    return {"".join(str(code >> i & 1) for i in range(method.modalities)) for code in codes}


def fused_by(network: nn.Module, image: Tensor, present: Tensor) -> tuple[np.ndarray, Tensor]:
    """Flattened outputs of the decoder's fusion in float64, and the logits."""
    seen: list[Tensor] = []
    handle = network.get_submodule("decoder.bottom").register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        logits = network(image, present)
    handle.remove()
    return seen[0].flatten(1).double().numpy(), logits


def cosines(rows: np.ndarray) -> list[list[float]]:
    return [[u @ v / np.sqrt((u @ u) * (v @ v)) for v in rows] for u in rows]


def test_distillation_of_the_complete_samples_by_hand(image, present, label, available):
    method = mmanet(alpha=3.0)
    terms = method.loss_terms(image, present, label, available)
    complete = [1, 3, 4]
    student, _ = fused_by(method, image, present)
    teacher, logits = fused_by(teacher_network(), image, available)
    r_t, r_d = cosines(teacher[complete]), cosines(student[complete])
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    entropy = (-p * np.log(p) - (1 - p) * np.log(1 - p)).sum(axis=1)
    h = [entropy[b].mean() for b in complete]  # random images: no voxel is background
    gaps = [sum((r_t[i][j] - r_d[i][j]) ** 2 for j in range(3)) for i in range(3)]
    expected = sum(h[i] / sum(h) * gaps[i] for i in range(3))
    assert terms["mad"].item() == pytest.approx(3 * expected, abs=1e-6)
    assert expected > 1e-3
    assert terms["task"].item() == pytest.approx(RegionLoss()(method(image, present), label).item(), abs=1e-6)


def test_the_background_has_no_say_in_the_teachers_uncertainty(image, present, label, available):
    image = image.clone()
    image[:, :, :4] = 0
    image[3, :, :6] = 0
    method = mmanet(alpha=1.0)
    student, _ = fused_by(method, image, present)
    teacher, logits = fused_by(teacher_network(), image, available)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    entropy = (-p * np.log(p) - (1 - p) * np.log(1 - p)).sum(axis=1)
    h = np.array([entropy[1, 4:].mean(), entropy[3, 6:].mean(), entropy[4, 4:].mean()])
    difference = np.array(cosines(teacher[[1, 3, 4]])) - np.array(cosines(student[[1, 3, 4]]))
    expected = (h / h.sum() * (difference**2).sum(axis=1)).sum()
    mad = method.loss_terms(image, present, label, available)["mad"].item()
    assert mad == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("complete", [0, 1])
def test_no_distillation_without_two_complete_samples(image, present, label, complete):
    available = present.clone()
    available[4] = complete == 1
    available[4, 0] = True
    assert mmanet().loss_terms(image, available, label, available)["mad"].item() == 0
    assert mmanet().loss_terms(image[:1], present[:1], label[:1], torch.ones(1, 4).bool())["mad"].item() == 0


def test_nothing_to_learn_from_oneself(image, label):
    torch.manual_seed(0)
    method = MMANet(LightUNet((4, 8)))
    twin = ModalityDropout(LightUNet((4, 8)), missing="zero")
    twin.load_state_dict(method.deployed(method.state_dict()))
    method.attach_teacher(twin)
    everything = torch.ones(5, 4).bool()
    assert method.loss_terms(image, everything, label, everything)["mad"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("distillation", ["default", "paper", "code", "sp"])
def test_every_distillation_trains_encoder_and_fusion_but_not_the_teacher(
    image, present, label, available, distillation
):
    method = mmanet(distillation=distillation)
    method.loss_terms(image, present, label, available)["mad"].backward()
    for part, trained in (("shared", True), ("decoder.bottom", True), ("decoder.head", False), ("regularizer", False)):
        gradients = [parameter.grad for parameter in method.get_submodule(part).parameters()]
        assert any(g is not None and g.any() for g in gradients) == trained, part
    assert all(p.grad is None and not p.requires_grad for p in method._teacher[0].parameters())


def test_distillations_differ(image, present, label, available):
    values = {
        name: mmanet(distillation=name).loss_terms(image, present, label, available)["mad"].item()
        for name in ("default", "paper", "code", "sp")
    }
    assert len({round(value, 6) for value in values.values()}) == 4


def test_regularization_is_the_task_loss_of_the_second_head_on_the_weak_samples(image, present, label, available):
    method = mmanet(beta=0.5)
    assert method.loss_terms(image, present, label, available)["mar"].item() == 0
    method.set_weak(subsets("1001", "1101", "1000"))
    expected_rows = [1, 3]
    twin = ModalityDropout(LightUNet((4, 8)), missing="zero")
    twin.shared, twin.decoder = method.shared, method.regularizer
    with torch.no_grad():
        expected = RegionLoss()(twin(image[expected_rows], present[expected_rows]), label[expected_rows])
    terms = method.loss_terms(image, present, label, available)
    assert terms["mar"].item() == pytest.approx(0.5 * expected.item(), abs=1e-6)
    terms["mar"].backward()
    for part, trained in (("shared", True), ("regularizer", True), ("decoder", False)):
        gradients = [parameter.grad for parameter in method.get_submodule(part).parameters()]
        assert any(g is not None and g.any() for g in gradients) == trained, part


def test_a_batch_without_a_weak_sample_still_trains(image, present, label, available):
    method = mmanet()
    method.set_weak(subsets("0001", "0100"))
    terms = method.loss_terms(image, present, label, available)
    torch.stack(list(terms.values())).sum().backward()
    assert terms["mar"].item() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.shared.parameters())
    assert all(p.grad is None for p in method.regularizer.parameters())


def test_single_modalities_are_weak_from_the_start_on_request():
    assert weak_subsets(mmanet(regularization="single")) == {"1000", "0100", "0010", "0001"}
    assert weak_subsets(mmanet()) == set()


def test_setting_weak_subsets_replaces_them():
    method = mmanet(regularization="single")
    method.set_weak(subsets("0110", "1111"))
    assert weak_subsets(method) == {"0110", "1111"}


def test_the_teacher_is_no_part_of_the_method(image, present, label, available):
    teacher = teacher_network().train()
    torch.manual_seed(0)
    method = MMANet(LightUNet((4, 8)))
    names, count = set(method.state_dict()), len(list(method.parameters()))
    method.attach_teacher(teacher)
    wrapped = LossTerms(method).train()
    assert set(method.state_dict()) == names == set(WeightAverage(method).weights)
    assert len(list(method.parameters())) == count
    assert teacher not in list(wrapped.modules())
    assert not any(module.training for module in teacher.modules())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    torch.stack(list(method.loss_terms(image, present, label, available).values())).sum().backward()
    optimizer.step()
    torch.testing.assert_close(teacher.state_dict(), before, rtol=0, atol=0)


def test_the_terms_asked_for(image, present, label, available):
    torch.manual_seed(0)
    method = MMANet(LightUNet((4, 8)), alpha=0)
    assert method.loss_terms(image, present, label, available).keys() == {"task", "mar"}
    assert mmanet(beta=0).loss_terms(image, present, label, available).keys() == {"task", "mad"}
    with pytest.raises(ValueError, match="MMANet has no teacher: attach a network trained with all modalities"):
        MMANet(LightUNet((4, 8))).loss_terms(image, present, label, available)


def test_what_is_deployed_is_the_plain_network(image, present):
    method = mmanet().eval()
    plain = ModalityDropout(LightUNet((4, 8)), missing="zero").eval()
    deployed = method.deployed(method.state_dict())
    plain.load_state_dict(deployed)
    assert torch.equal(plain(image, present), method(image, present))
    assert set(deployed) < set(method.state_dict())


def test_torchscript_of_the_deployed_and_of_the_trained_network(image, present):
    method = mmanet().eval()
    plain = ModalityDropout(LightUNet((4, 8)), missing="zero").eval()
    plain.load_state_dict(method.deployed(method.state_dict()))
    for network in (plain, method):
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(network), buffer)
        buffer.seek(0)
        torch.testing.assert_close(torch.jit.load(buffer)(image, present), method(image, present))


def results(image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
    method = mmanet()
    method.set_weak(subsets("0010", "1001"))
    terms = method.loss_terms(image, present, label, available)
    torch.stack(list(terms.values())).sum().backward()
    named = {name: term.detach() for name, term in terms.items()}
    return {**named, **{name: p.grad for name, p in method.named_parameters() if p.grad is not None}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_what_is_not_available_has_no_influence(image, present, label, available, value):
    spoilt = [image.masked_fill(~available[:, :, None, None, None], filling) for filling in (0.0, value)]
    clean, found = (results(each, present, label, available) for each in spoilt)
    torch.testing.assert_close(found, clean, rtol=0, atol=0)
    assert clean["mad"].item() > 0 and clean["mar"].item() > 0
    assert all(each.isfinite().all() for each in clean.values())


def test_what_is_not_present_reaches_the_teacher_alone(image, present, label, available):
    changed = image.masked_fill(~present[:, :, None, None, None], 2.0)
    before, after = (results(each, present, label, available) for each in (image, changed))
    for term in ("task", "mar"):
        assert torch.equal(before[term], after[term])
    assert not torch.equal(before["mad"], after["mad"])


def test_half_precision_stays_near_float32(image, present, label, available):
    method = mmanet()
    method.set_weak(subsets("0010", "1001"))
    terms = method.loss_terms(image, present, label, available)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method.loss_terms(image, present, label, available)
    for name, term in terms.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], term, rtol=0.1, atol=1e-3)


def test_the_same_class_serves_a_classifier_of_two_modalities(digits):
    torch.manual_seed(0)
    settings: dict[str, Any] = {"modalities": 2, "missing": "zero", "task_loss": nn.CrossEntropyLoss()}
    method = MMANet(digits, alpha=30, beta=0.5, outputs="classes", fused="linear", **settings)
    teacher = ModalityDropout(digits, **settings)
    method.attach_teacher(teacher)
    method.set_weak(subsets("01"))
    present, available = subsets("10", "11", "01", "01"), subsets("11", "11", "11", "01")
    image, label = torch.randn(4, 2, 10), torch.tensor([0, 2, 1, 1])
    terms = method.loss_terms(image, present, label, available)

    p = torch.softmax(teacher(image[:3], available[:3]), dim=1).detach().double().numpy()
    h = (-p * np.log(p)).sum(axis=1)

    def fused(network: ModalityDropout, rows: Tensor) -> np.ndarray:
        with torch.no_grad():
            features = network.shared.encoder(image[:3].flatten(0, 1)[:, None])[0].reshape(3, 2, 6)
            return network.decoder.linear((features * rows[:3, :, None]).flatten(1)).double().numpy()

    difference = np.array(cosines(fused(teacher, available))) - np.array(cosines(fused(method, present)))
    expected = (h / h.sum() * (difference**2).sum(axis=1)).sum()
    assert terms["mad"].item() == pytest.approx(30 * expected, abs=3e-5)
    with torch.no_grad():
        embedding = torch.cat([torch.zeros(2, 6), method.shared.encoder(image[2:, 1:])[0]], dim=1)
        auxiliary = nn.functional.cross_entropy(method.regularizer(embedding[:, None], []), label[2:])
    assert terms["mar"].item() == pytest.approx(0.5 * auxiliary.item(), abs=1e-6)
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in method.parameters())


@pytest.mark.parametrize("option", ["distillation", "regularization", "outputs", "missing"])
def test_an_unknown_option_is_an_error_that_names_it(option):
    with pytest.raises(ValueError, match=f"MMANet: {option} is 'median', expected one of"):
        mmanet(**{option: "median"})


@pytest.mark.parametrize(
    ("backbone", "fused"),
    [(LightUNet((4, 8)), "bottom"), (ResNetASPP((4, 4, 8, 8), (1, 1, 1, 1), channels=8), "up.0")],
)
def test_the_fusion_is_what_sees_the_embeddings_of_all_modalities(backbone, fused):
    torch.manual_seed(0)
    method = MMANet(backbone, fused=fused)
    method.attach_teacher(ModalityDropout(backbone))
    seen: list[Tensor] = []
    method.get_submodule(f"decoder.{fused}").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image, present = torch.randn(2, 4, 32, 32, 32), subsets("1010", "0111")
    terms = method.loss_terms(image, present, torch.zeros(2, 3, 32, 32, 32), torch.ones(2, 4).bool())
    embeddings = method.encode(image, present)[-1]
    assert torch.equal(seen[0], completed(embeddings, "zero").flatten(1, 2))
    assert terms["mad"].item() > 0


def test_the_fusion_must_be_there_in_both_networks(digits):
    with pytest.raises(ValueError, match="fused is 'middle': the decoder of MMANet has no such submodule"):
        MMANet(LightUNet((4, 8)), fused="middle")
    with pytest.raises(ValueError, match="fused is 'bottom': the decoder of ModalityDropout has no such submodule"):
        mmanet().attach_teacher(ModalityDropout(digits, modalities=2))
