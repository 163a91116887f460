"""ShaSpec as a network: Eqs. 1 to 4, the leak rule, only what exists is computed."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmiss.methods import ShaSpec
from medmiss.networks import MISSING

GARBAGE = [float("nan"), float("inf"), -1e30, 7.0]


def spoil(image: Tensor, present: Tensor, value: float) -> Tensor:
    spoilt = image.clone()
    spoilt[~present] = value
    return spoilt


def decoder_inputs(method: ShaSpec, image: Tensor, present: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What the decoder was given: embeddings and skips."""
    seen: list[Any] = []
    handle = method.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    method(image, present)
    handle.remove()
    ((bottleneck, skips),) = seen
    return bottleneck.detach(), [skip.detach() for skip in skips]


def generated(each: dict[int, np.ndarray], missing: str) -> np.ndarray:
    """Eq. 4 of one sample, from the shared features of its available modalities, or the zeros of skips."""
    if missing == "zero":
        return np.zeros_like(each[min(each)])
    if missing == "first":
        return each[min(each)]
    return sum(each.values(), np.zeros(())) / len(each)


@pytest.mark.parametrize("missing", ["mean", "first"])
@pytest.mark.parametrize("missing_skips", MISSING)
def test_the_decoder_sees_fused_features_and_for_missing_modalities_generated_ones(
    shaspec, image, present, missing, missing_skips
):
    method = shaspec(missing=missing, missing_skips=missing_skips).eval()
    bottleneck, skips = decoder_inputs(method, image, present)
    assert bottleneck.shape == (5, 4, 8, 2, 3, 2)
    assert [skip.shape for skip in skips] == [(5, 4, 4, 4, 6, 4)]
    projection = method.fusion.weight.detach().double().numpy()[:, :, 0, 0, 0]
    for b in range(5):
        available = [i for i in range(4) if present[b, i]]
        r, s, skip = {}, {}, {}
        for i in available:
            single = image[b : b + 1, i : i + 1]
            with torch.no_grad():
                fine, coarse = method.shared.encoder(single)
                skip[i], r[i] = fine[0].double().numpy(), coarse[0].double().numpy()
                s[i] = method.specific.encoders[i](single)[-1][0].double().numpy()
        for i in range(4):
            if i in available:  # Eq. 2
                expected = r[i] + np.einsum("oc,cxyz->oxyz", projection, np.concatenate([r[i], s[i]]))
                expected_skip = skip[i]
            else:  # Eq. 4
                expected, expected_skip = generated(r, missing), generated(skip, missing_skips)
            np.testing.assert_allclose(bottleneck[b, i], expected, atol=2e-5)
            np.testing.assert_allclose(skips[0][b, i], expected_skip, atol=2e-5)


def test_encoders_run_on_the_existing_pairs_alone(shaspec, image, present):
    method = shaspec()
    rows: dict[str, list[int]] = {}

    def count(name: str, encoder: nn.Module) -> None:
        encoder.register_forward_pre_hook(lambda _, inputs: rows.setdefault(name, []).append(inputs[0].shape[0]))

    count("shared", method.shared.encoder)
    for index, encoder in enumerate(method.specific.encoders):
        count(f"specific {index}", encoder)
    method(image, present)
    per_modality = {f"specific {index}": [int(present[:, index].sum())] for index in range(4)}
    assert rows == {"shared": [int(present.sum())]} | per_modality
    rows.clear()
    method(image[:1], present[:1])
    assert rows == {"shared": [1], "specific 2": [1]}


@pytest.mark.parametrize("value", GARBAGE)
def test_absent_channels_have_no_influence_on_the_logits(shaspec, image, present, value):
    method = shaspec().eval()
    assert torch.equal(method(spoil(image, present, value), present), method(spoil(image, present, 0.0), present))


@pytest.mark.parametrize("value", GARBAGE)
@pytest.mark.parametrize(
    "options", [{"alignment": "l1"}, {"alignment": "kl", "pairs": "ring"}, {"align_missing": True}]
)
def test_absent_channels_have_no_influence_on_losses_and_gradients(shaspec, image, present, label, value, options):
    results = []
    for filling in (0.0, value):
        method = shaspec(**options)
        data = spoil(image, present, filling).requires_grad_()
        terms = method.loss_terms(data, present, label, torch.ones_like(present))
        torch.stack(list(terms.values())).sum().backward()
        gradients = [parameter.grad for parameter in method.parameters()] + [data.grad]
        results.append([*(term.detach() for term in terms.values()), *gradients])
    for clean, spoilt in zip(*results, strict=True):
        assert torch.equal(clean, spoilt)
        assert clean.isfinite().all()
    assert not results[0][-1][~present].any()


def test_what_is_present_does_matter(shaspec, image, present):
    method = shaspec().eval()
    logits = method(image, present)
    for b, i in present.nonzero().tolist():
        changed = image.clone()
        changed[b, i] += torch.randn(8, 12, 8)
        assert not torch.allclose(method(changed, present)[b], logits[b], atol=1e-4)


def test_without_presence_an_all_zero_channel_counts_as_absent(shaspec, image, present):
    method = shaspec().eval()
    zeroed = spoil(image, present, 0.0)
    assert torch.equal(method(zeroed), method(zeroed, present))
    assert not torch.allclose(method(zeroed), method(zeroed, torch.ones_like(present)), atol=1e-4)


def test_a_mixed_batch_is_its_samples_one_by_one(shaspec, image, present):
    method = shaspec().eval()
    whole = method(image, present)
    each = [method(image[b : b + 1], present[b : b + 1]) for b in range(5)]
    torch.testing.assert_close(whole, torch.cat(each), rtol=1e-4, atol=1e-5)


def test_an_empty_presence_is_an_error(shaspec, image, present):
    present[3] = False
    with pytest.raises(ValueError, match="without any modality"):
        shaspec()(image, present)


@pytest.mark.parametrize("missing", ["mean", "first"])
def test_torchscript_equals_eager(shaspec, image, present, missing):
    method = shaspec(missing=missing).eval()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(method), buffer)
    buffer.seek(0)
    exported = torch.jit.load(buffer)
    with torch.no_grad():
        for image_, present_ in ((image, present), (image[:1], present[:1]), (image[1:4, :, :8], present[1:4])):
            torch.testing.assert_close(exported(image_, present_), method(image_, present_))
        zeroed = spoil(image, present, 0.0)
        torch.testing.assert_close(exported(zeroed), method(zeroed))


def test_half_precision_stays_near_the_logits_of_float32(shaspec, image, present, label):
    method = shaspec()
    terms = method.loss_terms(image, present, label, present)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method.loss_terms(image, present, label, present)
    for name, term in terms.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], term, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("alignment", ["ce", "kl", "l1", "mse"])
def test_the_same_class_serves_a_classifier_of_two_modalities(digits, alignment):
    method = ShaSpec(digits, modalities=2, alignment=alignment, task_loss=nn.CrossEntropyLoss())
    present = torch.tensor([[True, False], [True, True], [False, True]])
    image, label = torch.randn(3, 2, 10), torch.tensor([0, 2, 1])
    logits = method(image, present)
    terms = method.loss_terms(image, present, label, present)
    torch.testing.assert_close(terms["task"], nn.functional.cross_entropy(logits, label))
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in method.parameters())


@pytest.mark.parametrize("option", ["alignment", "pairs", "missing", "missing_skips"])
def test_an_unknown_option_is_an_error_that_names_it(shaspec, option):
    with pytest.raises(ValueError, match=f"{option} is 'median', expected one of"):
        shaspec(**{option: "median"})
