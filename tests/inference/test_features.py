"""The study of bottleneck features, against what the decoder is seen to get."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmiss.cases import find_cases
from medmiss.inference import BundleError, load_bundle
from medmiss.inference.features import FeatureStudy
from medmiss.methods import LCKD, Method, ModalityDropout, ShaSpec
from medmiss.modalities import MODALITIES, SUBSETS, presence
from medmiss.networks import LightUNet

BACKBONE = LightUNet(channels=(4, 8))
METHODS: dict[str, Callable[[], Method]] = {
    "shaspec": lambda: ShaSpec(BACKBONE),
    "shaspec first": lambda: ShaSpec(BACKBONE, missing="first"),
    "dropout": lambda: ModalityDropout(BACKBONE, missing="mean"),
    "lckd first": lambda: LCKD(BACKBONE, missing="first"),
}
ALL = torch.ones(1, 4, dtype=torch.bool)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return METHODS[request.param]().eval()


@pytest.fixture
def window() -> Tensor:
    return torch.randn(1, 4, 16, 12, 16, generator=torch.Generator().manual_seed(1))


def decoder_input(method: Any, window: Tensor, present: Tensor) -> np.ndarray:
    """The embeddings `(4, C, ...)` that a prediction decodes, generated ones among them."""
    seen: list[Tensor] = []
    handle = method.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        method(window, present)
    handle.remove()
    return seen[0][0].double().numpy()


def studied(method: nn.Module, *windows: Tensor, present: Tensor = ALL) -> FeatureStudy:
    study = FeatureStudy(method)
    with torch.no_grad():
        for window in windows:
            logits = study(window, present.expand(len(window), -1))
            assert logits.shape == (len(window), 1, *window.shape[2:]) and not logits.any()
    return study


def test_generated_features_are_those_that_the_decoder_gets(method: Any, window: Tensor):
    true = decoder_input(method, window, ALL)
    expected = {}
    for subset in SUBSETS[:-1]:
        embeddings = decoder_input(method, window, torch.tensor([presence(subset)]))
        for missing in set(MODALITIES) - set(subset):
            one, other = true[MODALITIES.index(missing)], embeddings[MODALITIES.index(missing)]
            cosine = (one * other).sum() / math.sqrt((one**2).sum() * (other**2).sum())
            expected[missing, subset] = (np.abs(one - other).mean(), cosine, np.abs(one).mean())
    kind = "fused" if isinstance(method, ShaSpec) else "bottleneck"
    found = {
        (one.missing, one.subset): (one.l1, one.cosine, one.l1_of_zeros)
        for one in studied(method, window).generated
        if one.kind == kind
    }
    assert found.keys() == expected.keys() and len(found) == 4 * 7
    for pair, values in expected.items():
        np.testing.assert_allclose(found[pair], values, rtol=2e-5, atol=1e-6)


def test_the_shared_features_of_shaspec_are_compared_too(window: Tensor):
    method = ShaSpec(BACKBONE).eval()
    with torch.no_grad():
        true = method.shared(window, ALL)[-1].values.double()
    (one,) = (
        one
        for one in studied(method, window).generated
        if (one.kind, one.missing, one.subset) == ("shared", "t1c", ("flair", "t2"))
    )
    assert one.l1 == pytest.approx((true[2] - (true[0] + true[3]) / 2).abs().mean().item(), rel=1e-5)


def test_averages_are_by_kind_and_modality(window: Tensor):
    method = ShaSpec(BACKBONE).eval()
    study = studied(method, torch.cat([window, window.flip(2)]))
    assert [one.kind for one in study.pooled] == ["shared"] * 8 + ["specific"] * 8
    assert [one.modality for one in study.pooled] == [*MODALITIES] * 4
    with torch.no_grad():
        expected = method.specific(window, ALL)[-1].values.flatten(2).mean(dim=2)
    torch.testing.assert_close(torch.stack([one.values for one in study.pooled[8:12]]), expected)


def test_an_absent_modality_has_no_part_in_it(method: Any, window: Tensor):
    present = torch.tensor([[True, False, True, True]])
    spoilt = window.clone()
    spoilt[:, 1] = torch.nan
    study = studied(method, spoilt, present=present)
    assert {one.modality for one in study.pooled} == {"flair", "t1c", "t2"}
    assert "t1" not in {one.missing for one in study.generated}
    assert all("t1" not in one.subset for one in study.generated)
    assert len({(one.missing, one.subset) for one in study.generated}) == 3 * 3
    assert all(math.isfinite(one.l1) and math.isfinite(one.cosine) for one in study.generated)


def test_a_window_without_brain_is_passed_over_and_windows_are_compared(window: Tensor):
    method = ModalityDropout(BACKBONE, missing="mean").eval()
    study = studied(method, window, torch.zeros_like(window), window, window.flip(2))
    assert len(study.pooled) == 3 * 4
    moved = [one.l1_of_window for one in study.generated]
    assert all(math.isnan(value) for value in moved[:28])
    assert moved[28:56] == [0.0] * 28
    assert min(moved[56:]) > 1e-3


def test_zeros_for_what_is_missing_are_no_generated_features(window: Tensor):
    study = studied(ModalityDropout(BACKBONE, missing="zero").eval(), window)
    assert not study.generates and study.generated == [] and len(study.pooled) == 4


def test_a_network_with_other_features_is_refused():
    with pytest.raises(BundleError, match="Linear, whose bottleneck features are not known"):
        FeatureStudy(nn.Linear(1, 1))


def test_a_case_is_studied_in_the_windows_of_a_prediction(tiny_bundle: Path, tmp_path: Path, write_case: Callable):
    write_case(tmp_path, "A", ["flair", "t2"])
    predictor = load_bundle(tiny_bundle, {"device::name": "cpu"}).get_parsed_content("predictor")
    windows: list[int] = []
    predictor.network.register_forward_hook(lambda *_: windows.append(1))
    (case,) = find_cases(tmp_path)
    predictor(case)
    study = FeatureStudy(predictor.network)
    study.study(predictor, case)
    assert len(study.pooled) == len(windows) * 2 * 2
    assert {(one.missing, one.subset) for one in study.generated} == {("flair", ("t2",)), ("t2", ("flair",))}
