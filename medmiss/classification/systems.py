"""The systems of the comparison by name: how each is built and trained on samples of two modalities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from medmiss.classification.baselines import GAN, AutoEncoder, Full2Miss, Imputed
from medmiss.classification.fitting import Recipe, batches, evaluator_of, fit, seeded
from medmiss.classification.pairs import SUBSETS, BySubset, PairedSamples
from medmiss.methods import (
    LCKD,
    MCKD,
    SMIL,
    CombinationMining,
    KMeansPriors,
    MetaStep,
    Method,
    MMANet,
    ModalityDropout,
    ShaSpec,
    TeacherElection,
)

Sets = Mapping[str, PairedSamples]
"""What is trained on: `train`, and `held_out` where a method consults samples between steps."""


@dataclass(frozen=True)
class Setup:
    """What all systems have in common.

    Args:
        backbone: makes encoders and classifiers of one width, such as `LeNets`.
        smil_backbone: makes those of SMIL, such as `SmilLeNets`; `None` where SMIL is not asked for.
        recipe: of every training.
        seed: of everything that is drawn.
        meta_interval: iterations between MCKD's meta steps.
        smil: options of `SMIL`.
        mmanet: options of `MMANet`.
    """

    backbone: Any
    smil_backbone: Any = None
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    meta_interval: int = 10
    smil: Mapping[str, Any] = field(default_factory=dict)
    mmanet: Mapping[str, Any] = field(default_factory=dict)


def plain(setup: Setup, missing: str = "mean") -> ModalityDropout:
    """The network without any paper's terms."""
    return ModalityDropout(setup.backbone, 2, missing, task_loss=nn.CrossEntropyLoss())


def lower(setup: Setup, sets: Sets) -> Method:
    """The lower bound: the network on the one modality that most samples have."""
    return trained(setup, lambda: plain(setup, "zero"), sets["train"].using(commoner(sets["train"].shares)))


def upper(setup: Setup, sets: Sets) -> Method:
    """The upper bound: the network on complete samples."""
    return trained(setup, lambda: plain(setup, "zero"), sets["train"].using(0, 1))


def autoencoder(setup: Setup, sets: Sets, make: Callable[[], AutoEncoder] = AutoEncoder) -> Method:
    """The network on samples that an autoencoder has completed."""
    imputer = trained(setup, make, sets["train"].using(0, 1))
    assert isinstance(imputer, AutoEncoder)
    return Imputed(imputer, trained(setup, lambda: plain(setup), sets["train"].completed(imputer))).eval()


def gan(setup: Setup, sets: Sets) -> Method:
    """The network on samples that a GAN has completed."""
    return autoencoder(setup, sets, GAN)


def full2miss(setup: Setup, sets: Sets) -> Method:
    """The network on one modality, of the samples that have it, taught by one of both."""
    samples, modality = sets["train"], commoner(sets["train"].shares)
    teacher = upper(setup, sets)
    rows = samples.having(modality)
    own = samples.restricted(rows, samples.available[rows])
    return trained(setup, lambda: Full2Miss(setup.backbone, teacher, modality), own)


def network_of(method: str, setup: Setup, missing: Sequence[int] = (1,), deployed: bool = False) -> Method:
    """The untrained network of a method.

    Args:
        method: `"smil"`, `"shaspec"`, `"lckd"`, `"mckd"`, `"mmanet"`, or `"dropout"`, the network without their terms.
        setup: what all have in common.
        missing: what may be missing, which SMIL has to know.
        deployed: the network that predicts, which MMANet's weights are saved for: without its second head.

    Raises:
        ValueError: when there is no such method.
    """
    task, backbone = nn.CrossEntropyLoss(), setup.backbone
    makers: dict[str, Callable[[], Method]] = {
        "dropout": lambda: plain(setup),
        "smil": lambda: SMIL(setup.smil_backbone, missing, seed=setup.seed, task_loss=task, **setup.smil),
        "shaspec": lambda: ShaSpec(backbone, 2, task_loss=task),
        "lckd": lambda: LCKD(backbone, 2, task_loss=task),
        "mckd": lambda: MCKD(backbone, 2, task_loss=task),
        "mmanet": lambda: MMANet(backbone, 2, outputs="classes", task_loss=task, **setup.mmanet),
    }
    if deployed:
        makers["mmanet"] = lambda: plain(setup, "zero")
    if method not in makers:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(makers)}")
    return seeded(makers[method], setup.seed)


def between_steps(method: Method, sets: Sets, setup: Setup) -> list[Any]:
    """What a method does between steps, as handlers; MMANet is given its teacher, trained here.

    SMIL's priors are of the complete training samples, as is what MMANet mines; LCKD elects its teachers and MCKD
    learns its weights on the held-out samples.
    """
    complete = DataLoader(BySubset(sets["train"], [(0, 1)]), batch_size=None)
    if isinstance(method, SMIL):
        return [KMeansPriors(method, complete, seed=setup.seed)]
    if isinstance(method, LCKD):
        evaluator, metric = evaluator_of(method, sets["held_out"], [(0,), (1,)], next(method.parameters()).device)
        return [TeacherElection(method, evaluator, metric, tasks=metric.tasks)]
    if isinstance(method, MCKD):
        held_out = batches(sets["held_out"].using(0, 1), setup.recipe, setup.seed)
        return [MetaStep(method, held_out, setup.meta_interval, weight_decay=1e-2, names=sets["train"].NAMES)]
    if isinstance(method, MMANet):
        method.attach_teacher(upper(setup, sets))
        epoch = 1 / setup.recipe.epochs
        # Published: five epochs of a hundred, a measurement an epoch.
        names = sets["train"].NAMES
        return [CombinationMining(method, complete, warm_up=max(epoch, 0.05), interval=epoch, names=names)]
    return []


def of_method(name: str) -> Callable[[Setup, Sets], Method]:
    """The system that is a method."""

    def train(setup: Setup, sets: Sets) -> Method:
        method = network_of(name, setup, may_be_missing(sets["train"].shares))
        return fit(method, sets["train"], setup.recipe, setup.seed, between_steps(method, sets, setup))

    return train


SYSTEMS: dict[str, Callable[[Setup, Sets], Method]] = {
    "lower": lower,
    "upper": upper,
    "autoencoder": autoencoder,
    "gan": gan,
    "full2miss": full2miss,
    **{name: of_method(name) for name in ("dropout", "smil", "shaspec", "lckd", "mckd", "mmanet")},
}
CONSULTING = ("lckd", "mckd")
"""Systems that consult held-out samples between steps."""


def trained(setup: Setup, make: Callable[[], Method], samples: PairedSamples) -> Method:
    """What `make` makes, trained on the samples."""
    return fit(seeded(make, setup.seed), samples, setup.recipe, setup.seed)


def commoner(shares: Sequence[float]) -> int:
    """The modality that more training samples have; the first of equals."""
    return 0 if shares[0] >= shares[1] else 1


def readable(system: str, shares: Sequence[float]) -> list[tuple[int, ...]]:
    """The subsets of the modalities that a system is made for.

    The lower bound and Full2miss have one modality. SMIL can do without a modality only where training samples lacked
    it, or it has no priors of it.

    Args:
        system: one of `SYSTEMS`.
        shares: of the training samples, those that have each modality.
    """
    if system in ("lower", "full2miss"):
        return [(commoner(shares),)]
    if system == "smil":
        missing = may_be_missing(shares)
        return [subset for subset in SUBSETS if all(i in subset or i in missing for i in range(2))]
    return list(SUBSETS)


def may_be_missing(shares: Sequence[float]) -> list[int]:
    """The modalities that some training sample lacks; the second where none lacks anything."""
    return [modality for modality, share in enumerate(shares) if share < 1] or [1]
