"""SMIL: a missing modality's features rebuilt from priors, learned by Bayesian meta-learning.

Ma, Ren, Zhao, Tulyakov, Wu, Peng: "SMIL: Multimodal Learning with Severely Missing Modality", AAAI 2021. The
equation numbers below are the paper's.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Events
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from medmiss.methods.interval import iterations_of
from medmiss.methods.method import Method
from medmiss.networks import modality_inputs, presence_of

logger = logging.getLogger(__name__)

THETA = ("encoders.", "head.")
"""How the names of the main network's parameters theta begin; the rest of `SmilNetwork` is psi = {phi_c, phi_r}."""
STARTS = 10
"""K-means is started as often, and the tightest result is kept."""


class Prediction(NamedTuple):
    """What `SmilNetwork` returns.

    Attributes:
        logits: `(B, classes)`.
        kl_weights: `(B,)`, KL of the priors' weights from N(1, I); 0 for a sample that lacks nothing.
        kl_regularisation: `(B,)`, KL of the regularisation from N(0, I), summed over the layers.
    """

    logits: Tensor
    kl_weights: Tensor
    kl_regularisation: Tensor


class SMIL(Method):
    """Reconstruction from K-means priors, regularised features, and an inner step on what is incomplete.

    Two modalities, one or both of which may be missing, and features that are vectors: classification.
    Training splits a batch by `available`. Its incomplete samples make the inner steps (Algorithm 1, lines 4-9),
    its complete ones the outer loss at theta* (Eq. 4), whose gradient goes through the inner steps, second
    order. `present` does not count in training. A batch without incomplete samples has theta* = theta, the plain
    loss; one without complete samples has no outer loss, and `task` is zero. A sampler that puts both
    kinds into every batch (the published code draws them half and half) suits it.

    Decisions where the paper is silent or says two things:

    * Eqs. 4, 7 and Algorithm 1 minimise the outer loss alone, Eqs. 5 and 6 count the incomplete samples as well, and
      so does the published code. `inner_weight` is the weight of their loss at theta; 0 is the algorithm to the
      letter, where theta meets them in the second-order term alone.
    * The priors of the KL terms are N(1, I) for the weights and N(0, I) for the regularisation; the
      networks predict logarithms of variances. The KL is summed over features and averaged over samples.
      Eqs. 5 and 6 set one KL against the likelihoods of all N + M samples: for a mean loss a weight of
      1 / (N + M), for the 1,050 of avMNIST the default. Eq. 7 to the letter is `kl_weight=1`.
      (A trial on avMNIST, 20% with sound, 600 iterations, one seed: tested on images alone the default reached 94%,
      `inner_weight=0` and `kl_weight=1` stayed at chance.)
    * The concatenated features are regularised from those of modality 0, the one that is always there in the
      paper; each further layer from the one before it.

    The published code (`noise="unit"`) differs in more that is not followed here: its outer step classifies
    complete samples with the second modality rebuilt and pulls the features towards the real ones, without noise.
    Its 324,688 parameters are the 260,974 of this class with SMIL's LeNets, 5,482 and 56,842 of the classifiers that
    the encoders were pre-trained with, and 1,390 of regularisers that it never calls.

    Distributed: each process makes its own inner steps, gradients of the sum are averaged as ever.

    Args:
        backbone: makes the main network. `feature_channels` (C_0, C_1), such as (160, 320), is what the encoders give,
            `specific_encoder(modality)` an encoder from `(P, 1, ...)` to a list, the last of which is `(P, C_i)` or
            flattens to it. `head()` is the list of layers on the concatenated `(B, C_0 + C_1)`; the last
            gives the logits, the others as many features as `hidden_channels` says, such as (64,).
        missing: modalities that may be missing. Only they have priors.
        priors: K, their number.
        noise: `"learned"`: weights ~ N(1, sigma(x)) (Eq. 2), r ~ N(mu, sigma) (Eq. 3), and the KL terms.
            `"unit"`, as in the published code: weights softplus(f(x)) that sum to one, r ~ N(mu, I), no KL.
        operation: how softplus(r) acts on the features (Eq. 3): `"add"` or `"multiply"`.
        inner_rate: alpha of Eq. 4.
        inner_steps: K of Algorithm 1.
        inner_weight: weight of the incomplete samples' own loss, see above; 0 leaves the term out.
        kl_weight: weight of the two KL terms, see above; at 0 nothing holds the variances, and a trial
            at 5% with sound ended in NaN.
        passes: stochastic passes at prediction, whose logits are averaged (Eq. 7 averages the log-likelihood); 0 takes
            the means of the weights and of r instead.
        seed: of those passes' draws.
        task_loss: loss of the logits against the label; cross-entropy when left out.

    Raises:
        ValueError: when an option has no such value.
    """

    def __init__(
        self,
        backbone: Any,
        missing: Sequence[int] = (1,),
        priors: int = 10,
        noise: str = "learned",
        operation: str = "add",
        inner_rate: float = 1e-3,
        inner_steps: int = 1,
        inner_weight: float = 1.0,
        kl_weight: float = 1e-3,
        passes: int = 0,
        seed: int = 0,
        task_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(task_loss or nn.CrossEntropyLoss())
        self.check_option("noise", noise, ("learned", "unit"))
        self.check_option("operation", operation, ("add", "multiply"))
        if sorted(missing) not in ([0], [1], [0, 1]):
            raise ValueError(f"SMIL: missing is {tuple(missing)}, expected (0,), (1,) or (0, 1)")
        if inner_steps < 1:
            raise ValueError(f"SMIL: inner_steps is {inner_steps}, expected at least 1")
        self.network = SmilNetwork(backbone, missing, priors, noise == "learned", operation == "add", passes, seed)
        self.learned = noise == "learned"
        self.inner_rate = inner_rate
        self.inner_steps = inner_steps
        self.inner_weight = inner_weight
        self.kl_weight = kl_weight

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits `(B, classes)` from the modalities that are present; see `Method.forward`.

        Args:
            image: `(B, 2, ...)`, both modalities padded to one shape.
            present: `(B, 2)` boolean, at least one a sample.

        Raises:
            ValueError: when a modality is missing that is not among `missing`, or before there are priors.
        """
        if present is None:
            present = presence_of(image)
        return self.network(image, present).logits

    @torch.jit.unused
    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task` (Eq. 4), `inner`, `kl_reconstruction` and `kl_regularisation` (Eq. 6); see `Method.loss_terms`."""
        whole = available.all(dim=1)
        complete, incomplete = whole.nonzero().flatten(), (~whole).nonzero().flatten()
        inner = kl_weights = kl_regularisation = image.new_zeros(())
        theta: dict[str, Tensor] = {
            name: value for name, value in self.network.named_parameters() if name.startswith(THETA)
        }
        if incomplete.numel() > 0:
            for step in range(self.inner_steps):
                prediction = functional_call(self.network, theta, (image[incomplete], available[incomplete]))
                loss = self.task_loss(prediction.logits, label[incomplete])
                if step == 0:
                    inner = loss
                    kl_weights = prediction.kl_weights.mean()
                    kl_regularisation = prediction.kl_regularisation.sum() / len(whole)
                theta = _descend(theta, loss, self.inner_rate)
        task = 0 * inner  # with its graph, so that a batch of incomplete samples alone can go backward
        if complete.numel() > 0:
            prediction = functional_call(self.network, theta, (image[complete], available[complete]))
            task = self.task_loss(prediction.logits, label[complete])
            kl_regularisation = kl_regularisation + prediction.kl_regularisation.sum() / len(whole)
        terms = {"task": task}
        if self.inner_weight > 0:
            terms["inner"] = self.inner_weight * inner
        if self.learned:
            terms["kl_reconstruction"] = self.kl_weight * kl_weights
            terms["kl_regularisation"] = self.kl_weight * kl_regularisation
        return terms


def _descend(parameters: dict[str, Tensor], loss: Tensor, rate: float) -> dict[str, Tensor]:
    """One step down the gradient of `loss`, itself differentiable (Algorithm 1, line 7); unused parameters stay."""
    learning = [name for name, value in parameters.items() if value.requires_grad]
    gradients = torch.autograd.grad(loss, [parameters[name] for name in learning], create_graph=True, allow_unused=True)
    moved = {
        name: parameters[name] - rate * gradient
        for name, gradient in zip(learning, gradients, strict=True)
        if gradient is not None
    }
    return {**parameters, **moved}


class SmilNetwork(nn.Module):
    """The main network f_theta, and within it the networks phi_c and phi_r that reconstruct and regularise.

    It is one module, so that the inner step can call it with other parameters.

    Args:
        backbone: see `SMIL`, as are `missing`, `priors`, `passes` and `seed`.
        missing: see there.
        priors: see there.
        learned: whether the noise is.
        add: whether regularisation is added; else it multiplies.
        passes: see there.
        seed: see there.
    """

    missing: list[int]

    def __init__(
        self, backbone: Any, missing: Sequence[int], priors: int, learned: bool, add: bool, passes: int, seed: int
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.widths = [int(width) for width in backbone.feature_channels]
        self.missing = list(missing)
        self.passes = passes
        self.encoders = nn.ModuleList([backbone.specific_encoder(modality) for modality in (0, 1)])
        self.head = nn.ModuleList(backbone.head())
        self.reconstructions = nn.ModuleList()
        for modality in missing:
            noise = Noise(priors, passes, generator)
            self.reconstructions.append(
                Reconstruction(self.widths[1 - modality], self.widths[modality], learned, noise)
            )
        self.regularisations = nn.ModuleList()
        previous = self.widths[0]
        for width in (sum(self.widths), *backbone.hidden_channels):
            noise = Noise(width, passes, generator)
            self.regularisations.append(Regularisation(previous, width, learned, add, noise))
            previous = width

    def forward(self, image: Tensor, present: Tensor) -> Prediction:
        """Classify from what is present: one draw in training; at prediction the mean over the passes."""
        for modality in range(2):
            if modality not in self.missing and not bool(present[:, modality].all()):
                raise ValueError(f"modality {modality} is missing, and this SMIL has been told to count on it")
        encoded = self.encode(image, present)
        prediction = self._classify(encoded, present, 0)
        if self.training or self.passes == 0:
            return prediction
        logits = prediction.logits
        for number in range(1, self.passes):
            logits = logits + self._classify(encoded, present, number).logits
        return Prediction(logits / self.passes, prediction.kl_weights, prediction.kl_regularisation)

    def encode(self, image: Tensor, present: Tensor) -> list[Tensor]:
        """Features of each modality by its own encoder, `(B, C_i)`; rows of zeros where it is missing."""
        inputs = modality_inputs(image, present)
        encoded: list[Tensor] = []
        for index, encoder in enumerate(self.encoders):
            own = (inputs.modality == index).nonzero().flatten()
            features = torch.zeros([present.shape[0], self.widths[index]], dtype=image.dtype, device=image.device)
            if own.numel() > 0:
                values = encoder(inputs.values[own])[-1].flatten(1)
                features = features.to(values.dtype).index_copy(0, inputs.sample[own], values)
            encoded.append(features)
        return encoded

    def _classify(self, encoded: list[Tensor], present: Tensor, number: int) -> Prediction:
        """Reconstruct what is missing, then regularise and apply layer after layer; pass `number`."""
        features = [encoded[0], encoded[1]]
        kl_weights = torch.zeros([present.shape[0]], device=present.device)
        for index, reconstruction in enumerate(self.reconstructions):
            modality = self.missing[index]
            lost = (~present[:, modality]).nonzero().flatten()
            if lost.numel() > 0:
                values, divergence = reconstruction(encoded[1 - modality][lost], number)
                features[modality] = features[modality].to(values.dtype).index_copy(0, lost, values)
                kl_weights = kl_weights.to(divergence.dtype).index_copy(0, lost, divergence)
        previous = features[0]
        current = torch.cat(features, dim=1)
        kl_regularisation = torch.zeros_like(kl_weights)
        for regularisation, layer in zip(self.regularisations, self.head):  # noqa: B905 (TorchScript knows no strict)
            current, divergence = regularisation(previous, current, number)
            kl_regularisation = kl_regularisation + divergence
            previous = current
            current = layer(current)
        return Prediction(current, kl_weights, kl_regularisation)


class Noise(nn.Module):
    """Standard normal numbers: new ones in training, at prediction always the same, or zeros.

    At prediction all samples share a pass's numbers, drawn once from a seed: what is predicted for one
    depends neither on the others of its batch nor on how often the network was called.

    Args:
        width: how many numbers.
        passes: stochastic passes at prediction; with 0 the numbers are zeros there.
        generator: of the numbers at prediction.
    """

    draws: Tensor

    def __init__(self, width: int, passes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("draws", torch.randn(passes, width, generator=generator), persistent=False)

    def forward(self, like: Tensor, number: int) -> Tensor:
        """Numbers of pass `number`, shaped as `like` `(B, width)`."""
        if self.training:
            return torch.randn_like(like)
        if self.draws.shape[0] == 0:
            return torch.zeros_like(like)
        return self.draws[number].to(like.dtype).expand_as(like)


class Reconstruction(nn.Module):
    """A missing modality's features as a weighted sum of its priors (Eq. 2), by the network phi_c.

    Args:
        source_channels: features of the modality that is there.
        channels: features of the missing one.
        learned: see `SMIL`, `noise`.
        noise: of the weights; as many as there are priors.
    """

    priors: Tensor
    fitted: Tensor

    def __init__(self, source_channels: int, channels: int, learned: bool, noise: Noise) -> None:
        super().__init__()
        count = noise.draws.shape[1]
        self.learned = learned
        self.noise = noise
        self.predictor = nn.Linear(source_channels, count)
        self.register_buffer("priors", torch.zeros(count, channels))
        self.register_buffer("fitted", torch.tensor(False))

    def forward(self, source: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Reconstruct from `source` `(P, C)`: features `(P, C')`, and the weights' KL from N(1, I), `(P,)`."""
        if not bool(self.fitted):
            raise ValueError(
                "a modality is missing, and SMIL has no priors to rebuild it from: let KMeansPriors fit them, "
                "or load weights that have some"
            )
        predicted = self.predictor(source).to(self.priors.dtype)
        if self.learned:
            weights = 1 + (predicted / 2).exp() * self.noise(predicted, number)
            divergence = divergence_from_unit(torch.zeros_like(predicted), predicted)
        else:
            positive = functional.softplus(predicted)
            weights = positive / positive.sum(dim=1, keepdim=True)
            divergence = torch.zeros_like(predicted[:, 0])
        return weights @ self.priors, divergence


class Regularisation(nn.Module):
    """A layer's features, to or by which softplus(r) is added or multiplied (Eq. 3), by the network phi_r.

    Args:
        previous_channels: features of the layer before, from which mu and the logarithm of sigma are predicted.
        channels: features of the layer.
        learned: see `SMIL`, `noise`.
        add: added, else multiplied.
        noise: of r; as many as `channels`.
    """

    def __init__(self, previous_channels: int, channels: int, learned: bool, add: bool, noise: Noise) -> None:
        super().__init__()
        self.learned = learned
        self.add = add
        self.noise = noise
        self.predictor = nn.Linear(previous_channels, 2 * channels if learned else channels)

    def forward(self, previous: Tensor, features: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Regularise `features` `(B, C)` of a layer: the result, and the KL of r from N(0, I), `(B,)`."""
        predicted = self.predictor(previous).to(self.predictor.weight.dtype)
        mean = predicted[:, : features.shape[1]]
        noise = self.noise(mean, number)
        divergence = torch.zeros_like(mean[:, 0])
        if self.learned:
            log_variance = predicted[:, features.shape[1] :]
            noise = noise * (log_variance / 2).exp()
            divergence = divergence_from_unit(mean, log_variance)
        factor = functional.softplus(mean + noise)
        return (features + factor if self.add else features * factor), divergence


def divergence_from_unit(shift: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(m + shift, diag(exp(log_variance))) from N(m, I), whatever m (Eq. 6): `(B, D)` to `(B,)`."""
    return (shift.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2


class KMeansPriors:
    """Ignite handler that fits the priors: centres of each missing modality's features over complete samples.

    It fits before the first iteration, on the untrained encoders, and again as these learn. A new centre
    takes the place of the old one nearest to it (as an assignment of all), so that a prior stays what its weight
    was learned for.

    Args:
        method: whose priors they are.
        data_loader: batches with `image` and `available`, of which the complete samples count. A fixed order, without
            augmentation, makes the priors reproducible.
        interval: how often they are fitted anew: iterations, or a share of the run (see `iterations_of`); 0 never.
        seed: of the starts of K-means.
    """

    def __init__(
        self, method: SMIL, data_loader: Iterable[Mapping[str, Tensor]], interval: float = 0.1, seed: int = 0
    ) -> None:
        self.method = method
        self.data_loader = data_loader
        self.interval = interval
        self.seed = seed

    def attach(self, engine: Any) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self.update)

    def update(self, engine: Any) -> None:
        """Fit when it is time."""
        done = engine.state.iteration - 1
        interval = iterations_of(self.interval, engine)
        if done == 0 or (interval > 0 and done % interval == 0):
            self.fit()

    def fit(self) -> None:
        """Fit the priors to the encoders as they are.

        Raises:
            ValueError: when there are fewer complete samples than priors.
        """
        features = self._features()
        network = self.method.network
        for modality, reconstruction in zip(network.missing, network.reconstructions, strict=True):
            assert isinstance(reconstruction, Reconstruction)
            priors, points = reconstruction.priors, features[modality]
            if len(points) < len(priors):
                raise ValueError(
                    f"SMIL: {len(points)} complete samples in the data loader, expected at least the "
                    f"{len(priors)} priors that are to be their centres: give it more, or lower `priors`"
                )
            centres = cluster_centres(points, len(priors), self.seed)
            if bool(reconstruction.fitted):
                _, order = linear_sum_assignment(cdist(priors.double().cpu().numpy(), centres))
                centres = centres[order]
            priors.copy_(torch.from_numpy(centres))
            reconstruction.fitted.fill_(True)
            logger.info("%d priors of modality %d from %d complete samples", len(priors), modality, len(points))

    @torch.no_grad()
    def _features(self) -> list[np.ndarray]:
        """Both modalities' features of the complete samples, `(samples, C_i)`, without dropout."""
        network = self.method.network
        device = next(network.parameters()).device
        rows: list[list[np.ndarray]] = [[], []]
        training = network.training
        network.eval()
        for batch in self.data_loader:
            complete = batch["available"].all(dim=1)
            if complete.any():
                encoded = network.encode(batch["image"][complete].to(device), batch["available"][complete].to(device))
                for modality, features in enumerate(encoded):
                    rows[modality].append(features.double().cpu().numpy())
        network.train(training)
        return [np.concatenate(blocks) if blocks else np.zeros((0, 0)) for blocks in rows]


def cluster_centres(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Centres `(count, C)` of `points` `(samples, C)` by K-means, the tightest of several k-means++ starts."""
    generator = np.random.default_rng(seed)
    best, spread = points[:count], np.inf
    for _ in range(STARTS):
        centres, nearest = kmeans2(points, count, iter=50, minit="++", seed=generator)
        now = np.square(points - centres[nearest]).sum()
        if now < spread:
            best, spread = centres, now
    return best
