"""What a network makes of each modality before it decodes: bottleneck features, true ones beside generated ones."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmiss.cases import Case
from medmiss.inference.bundle import BundleError
from medmiss.inference.predictor import CasePredictor
from medmiss.inference.reading import prepare
from medmiss.methods import ModalityDropout, ShaSpec
from medmiss.modalities import MODALITIES, SUBSETS, Subset, presence
from medmiss.networks import ModalityFeatures, completed


@dataclass(frozen=True)
class Generated:
    """A generated feature beside the true one, in one window.

    Args:
        kind: which true one: the `"bottleneck"` feature; of ShaSpec the `"fused"` f(i) that the generated one stands
            for (Eq. 2), and the `"shared"` r(i), which it is made of (Eq. 4) and the alignment is about.
        missing: the modality it stands for.
        subset: the modalities it is made of.
        l1: mean distance over elements.
        cosine: cosine of the angle between the two, flattened.
        l1_of_zeros: distance of zeros from the true one, to compare with.
        l1_of_window: distance of the true one from that of the window before, likewise: features that hardly differ
            between windows say nothing of the image, and are easy to generate. NaN in the first window.
    """

    kind: str
    missing: str
    subset: Subset
    l1: float
    cosine: float
    l1_of_zeros: float
    l1_of_window: float


@dataclass(frozen=True)
class Pooled:
    """A feature averaged over its window.

    Args:
        kind: `"bottleneck"`; of ShaSpec `"shared"` or `"specific"`.
        modality: what was encoded.
        values: `(C,)`.
    """

    kind: str
    modality: str
    values: Tensor


class FeatureStudy:
    """Stands where a sliding window expects the network, and notes the features of each window instead.

    An encoder works on one modality at a time, whatever else is there: the features of all modalities are computed
    once a window, and what the network would generate from each subset of them follows. Windows without any brain
    are passed over.

    Args:
        network: a `ModalityDropout` (LCKD, MCKD and MMANet are such) or a `ShaSpec`.

    Attributes:
        generated: for each window, kind, modality and subset without it; none where the network puts zeros for what
            is missing, or a case has one modality.
        pooled: for each window and modality.

    Raises:
        BundleError: when the network is something else.
    """

    def __init__(self, network: nn.Module) -> None:
        if not isinstance(network, ModalityDropout | ShaSpec):
            raise BundleError(
                f"the network is a {type(network).__name__}, whose bottleneck features are not known: expected a "
                "ShaSpec, a ModalityDropout or what derives from one; give the run of another method"
            )
        self.network = network
        self.generated: list[Generated] = []
        self.pooled: list[Pooled] = []
        self._before: dict[tuple[str, str], Tensor] = {}

    @property
    def generates(self) -> bool:
        """Whether the network makes a feature for a missing modality."""
        return self.network.missing != "zero"

    def __call__(self, window: Tensor, present: Tensor) -> Tensor:
        """Note the features of `window` `(B, N, X, Y, Z)` with its `present` `(B, N)`; returns logits that are 0."""
        rows = window.ne(0).flatten(1).any(dim=1).nonzero().flatten()
        if len(rows):
            true, source, pooled = self._encode(window[rows], present[rows])
            for kind, features in pooled.items():
                means = features.values.float().flatten(2).mean(dim=2).cpu()
                names = [MODALITIES[index] for index in features.modality.tolist()]
                self.pooled += [Pooled(kind, name, values) for name, values in zip(names, means, strict=True)]
            if self.generates:
                for sample in range(len(rows)):
                    for kind, features in true.items():
                        self._compare(kind, _sample_of(features, sample), _sample_of(source, sample))
        return torch.zeros_like(window[:, :1])

    def study(self, predictor: CasePredictor, case: Case) -> None:
        """Slide over a case as `predictor` does for a prediction.

        Raises:
            CaseError: when it cannot be read.
        """
        item = prepare(predictor.preprocessing, {"case": case})
        image, present = item["image"][None].to(predictor.device), item["available"][None].to(predictor.device)
        with torch.inference_mode():
            predictor.inferer(image, self, present=present)

    def _encode(
        self, window: Tensor, present: Tensor
    ) -> tuple[dict[str, ModalityFeatures], ModalityFeatures, dict[str, ModalityFeatures]]:
        """True features by kind, those that missing ones are made of, and those to average, by kind."""
        if isinstance(self.network, ShaSpec):
            shared, specific = self.network.shared(window, present)[-1], self.network.specific(window, present)[-1]
            fused = self.network.fuse(shared, specific)
            return {"fused": fused, "shared": shared}, shared, {"shared": shared, "specific": specific}
        bottleneck = self.network.encode(window, present)[-1]
        return {"bottleneck": bottleneck}, bottleneck, {"bottleneck": bottleneck}

    def _compare(self, kind: str, features: ModalityFeatures, source: ModalityFeatures) -> None:
        """Note every generated feature of one sample beside the true one."""
        available = [MODALITIES[index] for index in features.modality.tolist()]
        true = dict(zip(available, features.values.float(), strict=True))
        zeros = {name: own.abs().mean().item() for name, own in true.items()}
        before = {name: self._before.get((kind, name), torch.full_like(own, torch.nan)) for name, own in true.items()}
        moved = {name: (own - before[name]).abs().mean().item() for name, own in true.items()}
        self._before |= {(kind, name): own for name, own in true.items()}
        for subset in SUBSETS:
            if set(subset) < set(available):
                embeddings = completed(_only(source, subset), self.network.missing)[0].float()
                for missing in (name for name in available if name not in subset):
                    other, own = embeddings[MODALITIES.index(missing)], true[missing]
                    l1 = (own - other).abs().mean().item()
                    cosine = functional.cosine_similarity(own.flatten(), other.flatten(), dim=0).item()
                    self.generated.append(Generated(kind, missing, subset, l1, cosine, zeros[missing], moved[missing]))


def _sample_of(features: ModalityFeatures, sample: int) -> ModalityFeatures:
    """The features of one sample, as a batch of it alone."""
    rows = (features.sample == sample).nonzero().flatten()
    return ModalityFeatures(
        features.values[rows], features.sample[rows] * 0, features.modality[rows], features.present[sample][None]
    )


def _only(features: ModalityFeatures, subset: Subset) -> ModalityFeatures:
    """The features of one sample as if it had these modalities alone."""
    present = torch.tensor([presence(subset)], device=features.present.device)
    rows = present[0, features.modality].nonzero().flatten()
    return ModalityFeatures(features.values[rows], features.sample[rows], features.modality[rows], present)
