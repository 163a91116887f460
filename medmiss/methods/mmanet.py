"""MMANet: margin-aware distillation and modality-aware regularisation.

Wei, Luo, Luo: "MMANet: Margin-aware Distillation and Modality-aware Regularization for Incomplete Multimodal
Learning", CVPR 2023. The equation numbers below are the paper's.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.networks.utils import eval_mode
from torch import Tensor, distributed, nn

from medmiss.cases import CONVENTIONS
from medmiss.losses import RelationLoss, class_entropy, gathered, joint_weight, processes, region_entropy
from medmiss.methods.history import History
from medmiss.methods.interval import iterations_of
from medmiss.methods.modality_dropout import ModalityDropout
from medmiss.modalities import DISPLAY_NAMES
from medmiss.networks import completed

logger = logging.getLogger(__name__)

DISTILLATIONS: dict[str, tuple[str, str, str]] = {
    "default": ("cosine", "squared", "entropy"),
    "paper": ("cosine", "signed", "softmax"),
    "code": ("gram", "squared", "entropy"),
    "sp": ("cosine", "squared", "none"),
}
"""MAD by name: relation, gap and weighting of `RelationLoss`. `sp` is the paper's ablation of the default."""


class MMANet(ModalityDropout):
    """The modality-dropout network, distilled from a teacher that has all modalities, with a head for weak subsets.

    MAD (Eqs. 2-8) compares the relations between the samples of a batch in teacher and student. It takes the complete
    samples of the batch, of all processes together; those of which a modality is not available, which the
    teacher cannot be asked about, are left out. It is 0 for fewer than two, and of two the margins (the weights by
    uncertainty) have no say in the default, so that a batch needs three samples or more to be what the paper means;
    with gradient accumulation each batch has its own relations. MAR (Eqs. 9-16) gives the task loss of a second head on
    the same encoder to the samples whose `present` is a weak subset, which `CombinationMining` names; until then,
    and in a batch without such a sample, it is 0. Both are training's alone: `deployed` leaves a `ModalityDropout`.

    The teacher is attached after construction (`attach_teacher`), always in evaluation mode, and no part of the state
    dict, the parameters, the weights' average or distributed training.

    Published weights (alpha, beta): (30, 0.5) for classification with batches of 64, (4, 0.2) on NYUv2 and (10, 0.1)
    on Cityscapes with batches of 8. The default is that of NYUv2, not tuned on brain tumours. The weights of one
    distillation do not carry over to another.

    Args:
        backbone: makes the encoder, the decoder and the regularisation head.
        modalities: N.
        alpha: weight of MAD (Eq. 1); with 0 there is none, and no teacher is needed.
        beta: weight of MAR (Eq. 1); with 0 there is none.
        distillation: one of `DISTILLATIONS`.
        regularization: the weak subsets: `"mined"`, or the `"single"` modalities from the start (the ablation SR).
        outputs: what the logits are: overlapping `"regions"` ET, TC, WT of a brain, or `"classes"`, of which a sample
            or a voxel has one.
        fused: name of the decoder's submodule whose output is the fused feature z, that is the first one on the
            concatenated embeddings of all modalities (the paper's fusion module F); of the teacher's decoder too.
            `"bottom"` of `LightUNet`, `"up.0"` of `ResNetASPP`.
        missing: see `ModalityDropout`; zero is what is published.
        missing_skips: see `ModalityDropout`.
        task_loss: see `ModalityDropout`; a mean over samples.

    Raises:
        ValueError: when an option has no such value, or the decoder no such submodule.
    """

    weak: Tensor
    """`(2 ** N,)` boolean, whether the subset of each number is regularised: modality i has bit i."""

    def __init__(
        self,
        backbone: Any,
        modalities: int = 4,
        alpha: float = 4.0,
        beta: float = 0.2,
        distillation: str = "default",
        regularization: str = "mined",
        outputs: str = "regions",
        fused: str = "bottom",
        missing: str = "zero",
        missing_skips: str = "zero",
        task_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(backbone, modalities, missing, missing_skips, task_loss)
        self.check_option("distillation", distillation, tuple(DISTILLATIONS))
        self.check_option("regularization", regularization, ("mined", "single"))
        self.check_option("outputs", outputs, ("regions", "classes"))
        self.modalities = modalities
        self.alpha = alpha
        self.beta = beta
        self.regularization = regularization
        self.outputs = outputs
        self.fused = fused
        _fusion_of(self, fused)
        self.distillation = RelationLoss(*DISTILLATIONS[distillation])
        self.regularizer = backbone.decoder(modalities)
        self.register_buffer("weak", torch.zeros(2**modalities, dtype=torch.bool))
        if regularization == "single":
            self.set_weak(torch.eye(modalities, dtype=torch.bool))
        self._teacher: tuple[nn.Module, ...] = ()  # a tuple keeps it out of the state dict and the parameters

    def attach_teacher(self, teacher: nn.Module) -> None:
        """Freeze `teacher` and learn from it. Attach it when the method is on its device.

        Args:
            teacher: a network trained with all modalities, such as a `ModalityDropout`; of any width.

        Raises:
            ValueError: when its decoder has no submodule `fused`.
        """
        _fusion_of(teacher, self.fused)
        device = next(self.parameters()).device
        self._teacher = (teacher.to(device).eval().requires_grad_(False),)

    def set_weak(self, subsets: Tensor) -> None:
        """Regularise these subsets, `(K, N)` boolean, and no others from now on."""
        self.weak.zero_()
        self.weak[_codes(subsets.to(self.weak.device))] = True

    def deployed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a `ModalityDropout` with the same stand-ins loads: neither the second head nor the weak subsets."""
        return {name: value for name, value in state.items() if name != "weak" and not name.startswith("regularizer.")}

    @torch.jit.unused
    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task` + alpha * `mad` + beta * `mar` (Eq. 1); see `Method.loss_terms`.

        Raises:
            ValueError: when there is to be MAD and no teacher is attached.
        """
        levels = self.encode(image, present)
        bottleneck, skips = completed(levels[-1], self.missing), self.skips(levels)
        with _output_of(_fusion_of(self, self.fused)) as fused:
            logits = self.decoder(bottleneck, skips)
        terms = {"task": self.task_loss(logits, label)}
        if self.alpha:
            terms["mad"] = self.alpha * self._distil(fused[0], image, available)
        if self.beta:
            rows = self.weak[_codes(present)].nonzero().flatten()
            # The mean over the weak samples of all processes (Eq. 16), not over the means of those that have one.
            weight = joint_weight(len(rows), image.device)
            terms["mar"] = logits.new_zeros((), dtype=torch.float32)
            if len(rows):
                auxiliary = self.regularizer(bottleneck[rows], [skip[rows] for skip in skips])
                terms["mar"] = self.beta * weight * self.task_loss(auxiliary, label[rows])
        return terms

    def _distil(self, student: Tensor, image: Tensor, available: Tensor) -> Tensor:
        """MAD of the fused features `(B, C, ...)` (Eqs. 2-8)."""
        if not self._teacher:
            raise ValueError("MMANet has no teacher: attach a network trained with all modalities, or set alpha to 0")
        with torch.no_grad(), _output_of(_fusion_of(self._teacher[0], self.fused)) as fused:
            logits = self._teacher[0](image, available)
            uncertainty = self._uncertainty(logits, image, available)
        complete = gathered(available.all(dim=1).float()).nonzero().flatten()
        features = [gathered(rows.flatten(1).float())[complete] for rows in (fused[0], student)]
        return self.distillation(*features, gathered(uncertainty)[complete])

    def _uncertainty(self, logits: Tensor, image: Tensor, available: Tensor) -> Tensor:
        """The entropy of each sample's prediction, `(B,)` (Eqs. 6 and 7; for regions ours)."""
        if self.outputs == "classes":
            return class_entropy(logits)
        return region_entropy(logits, _brain(image, available))

    def class_counts(self, logits: Tensor, image: Tensor, available: Tensor) -> Tensor:
        """How often each class is predicted, `(classes,)` (Eqs. 10 and 11).

        Of regions, the classes are those of the label map (background, NCR, ED, ET), counted inside the brain.
        """
        if self.outputs == "classes":
            return torch.bincount(logits.argmax(dim=1).flatten().cpu(), minlength=logits.shape[1])
        convention = CONVENTIONS["brats2023"]  # NCR, ED and ET are 1, 2 and 3
        counts = np.zeros(len(convention.values), dtype=np.int64)
        for regions, brain in zip((logits > 0).cpu().numpy(), _brain(image, available).cpu().numpy(), strict=True):
            counts += np.bincount(convention.labels(regions)[brain], minlength=len(counts))
        return torch.from_numpy(counts)


class CombinationMining:
    """Names the weak subsets: what remains without the modality that the predictions depend on most (Eqs. 9-13).

    During the warm-up the network, as it is then, predicts the same samples with all modalities and with each
    single one left out. The histogram of predicted classes that is farthest from that of all modalities (KL
    divergence, averaged over the measurements) names the modality; what remains without it, and every subset of
    that, is weak from then on. Samples of which a modality is not available are left out.

    Over several processes each predicts every so many-th batch, and the counts are summed: give each process
    the same loader. Nothing happens unless the method mines (`regularization` is `"mined"` and beta is not 0).

    Args:
        method: what is trained.
        data_loader: batches of `image` `(B, N, ...)` and `available` `(B, N)`, of training or held-out cases; no
            label is read.
        inferer: `inferer(image, method, present)` returns logits, such as a sliding window; without one the
            method is called.
        warm_up: when the subsets are named: iterations, or a share of the run (see `iterations_of`). Published: 5 of
            100 epochs for classification, 10 of 300 for segmentation.
        interval: between two measurements, likewise; at most the warm-up. Published: an epoch.
        names: of the N modalities, for the log.
        record: CSV file of all measurements: iteration, the modality left out (its index), KL divergence.

    Raises:
        ValueError: when there are not N names.
    """

    def __init__(
        self,
        method: MMANet,
        data_loader: Iterable[Mapping[str, Tensor]],
        inferer: Callable[..., Tensor] | None = None,
        warm_up: float = 0.05,
        interval: float = 0.01,
        names: Sequence[str] = tuple(DISPLAY_NAMES.values()),
        record: str | Path | None = None,
    ) -> None:
        if len(names) != method.modalities:
            found, number = ", ".join(names), method.modalities
            raise ValueError(f"CombinationMining: names are {found}; expected one for each of {number} modalities")
        self.method = method
        self.data_loader = data_loader
        self.inferer = inferer
        self.warm_up = warm_up
        self.interval = interval
        self.names = tuple(names)
        self.history = History(("iteration", "left_out", "divergence"), record)

    def attach(self, trainer: Any) -> None:
        """Register with the trainer."""
        if self.method.beta and self.method.regularization == "mined":
            trainer.add_event_handler(Events.STARTED, self.start)
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self.mine)
            self.history.attach(trainer)

    def start(self, trainer: Any) -> None:
        """Turn the shares into iterations.

        Raises:
            ValueError: when no measurement would lie in the warm-up.
        """
        self._end = iterations_of(self.warm_up, trainer)
        self._interval = iterations_of(self.interval, trainer)
        if not 1 <= self._interval <= self._end:
            raise ValueError(
                f"CombinationMining: a measurement every {self._interval} iterations in a warm-up of {self._end}: "
                "expected an interval of at least 1 and at most the warm-up"
            )

    def mine(self, trainer: Any) -> None:
        """Measure when it is time, and name the weak subsets at the end of the warm-up."""
        iteration = trainer.state.iteration
        if iteration <= self._end and iteration % self._interval == 0:
            for modality, divergence in enumerate(self.discrepancies().tolist()):
                self.history.rows.append([iteration, modality, divergence])
        if iteration == self._end:
            self.name_weak(quiet=trainer.state.rank != 0)

    def name_weak(self, quiet: bool = False) -> None:
        """Average the measurements (Eq. 13) and hand the method the subsets that follow from them; log it."""
        number = self.method.modalities
        mean = torch.tensor([row[-1] for row in self.history.rows], dtype=torch.float64).reshape(-1, number).mean(dim=0)
        strong = int(mean.argmax())
        self.method.set_weak(subsets_without(strong, number))
        if not quiet:
            pairs = zip(self.names, mean.tolist(), strict=True)
            divergences = ", ".join(f"{name} {value:.3g}" for name, value in pairs)
            words = "weak from now on: every subset without %s (KL without each: %s)"
            logger.info(words, self.names[strong], divergences)

    @torch.no_grad()
    def discrepancies(self) -> Tensor:
        """g^d `(N,)`: KL divergence of the histogram without each modality from that with all (Eqs. 9-12).

        The paper takes a softmax of the counts, which is 1 for the commonest class and 0 for the rest; here they are
        shares, with one voxel or sample added to each class.

        Raises:
            ValueError: when no sample has all modalities.
        """
        # Data loaders draw from the generator of training.
        with eval_mode(self.method), torch.random.fork_rng(devices=[]):
            counts = self._counts()
        shares = (counts + 1) / (counts + 1).sum(dim=1, keepdim=True)
        return (shares[0] * (shares[0] / shares[1:]).log()).sum(dim=1)

    def _counts(self) -> Tensor:
        """Predicted classes with all modalities and without each, `(N + 1, classes)` (Eqs. 10 and 11)."""
        number = self.method.modalities
        masks = torch.cat([torch.ones(1, number), 1 - torch.eye(number)]).bool()
        device = next(self.method.parameters()).device
        own: list[Tensor] = []
        rank = distributed.get_rank() if processes() > 1 else 0
        for index, batch in enumerate(self.data_loader):
            complete = batch["available"].all(dim=1)
            if index % processes() != rank or not complete.any():
                continue
            image, available = batch["image"][complete].to(device), batch["available"][complete].to(device)
            own.append(torch.stack([self._counts_with(mask.to(device), image, available) for mask in masks]))
        parts: list[Any] = [own]
        if processes() > 1:
            parts = [None] * processes()
            distributed.all_gather_object(parts, own)
        counts = [batch for part in parts for batch in part]
        if not counts:
            raise ValueError("CombinationMining: no sample has all modalities; give cases of which some are complete")
        return torch.stack(counts).sum(dim=0).double()

    def _counts_with(self, mask: Tensor, image: Tensor, available: Tensor) -> Tensor:
        present = mask.expand(len(image), -1)
        logits = self.inferer(image, self.method, present) if self.inferer else self.method(image, present)
        return self.method.class_counts(logits, image, available)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; the weak subsets are in the method's own state."""
        return {"history": self.history.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.history.rows = list(state["history"])


def subsets_without(modality: int, number: int) -> Tensor:
    """The non-empty subsets of `number` modalities that lack one, `(2 ** (number - 1) - 1, number)` boolean."""
    codes = torch.arange(1, 2**number)
    subsets = (codes[:, None] >> torch.arange(number)) & 1 == 1
    return subsets[~subsets[:, modality]]


def _codes(present: Tensor) -> Tensor:
    """The number of each subset `(B, N)`: modality i has bit i."""
    bits = 2 ** torch.arange(present.shape[1], device=present.device)
    return (present * bits).sum(dim=1)


def _brain(image: Tensor, available: Tensor) -> Tensor:
    """Where an available modality of `(B, N, X, Y, Z)` is not 0, `(B, X, Y, Z)` boolean."""
    return ((image != 0) & available[:, :, None, None, None]).any(dim=1)


def _fusion_of(network: nn.Module, name: str) -> nn.Module:
    try:
        return network.get_submodule(f"decoder.{name}")
    except AttributeError as error:
        raise ValueError(f"fused is {name!r}: the decoder of {type(network).__name__} has no such submodule") from error


@contextmanager
def _output_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """What `module` returns within the context."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
