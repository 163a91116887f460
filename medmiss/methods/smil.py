"""SMIL: a missing modality's features rebuilt from priors, learned by Bayesian meta-learning.

Ma, Ren, Zhao, Tulyakov, Wu, Peng: "SMIL: Multimodal Learning with Severely Missing Modality", AAAI 2021. The
equation numbers below are the paper's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from medmiss.methods.method import Method
from medmiss.methods.smil_network import SmilNetwork
from medmiss.networks import presence_of

THETA = ("encoders.", "head.")
"""How the names of the main network's parameters theta begin; the rest of `SmilNetwork` is psi = {phi_c, phi_r}."""


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
      so does the published code. Here every sample of a batch counts once, as in Eq. 5, complete ones with their loss
      at theta*, incomplete ones with `inner_weight` times theirs at theta; 0 is the algorithm to the letter, where
      theta meets them in the second-order term alone.
    * The priors of the KL terms are N(1, I) for the weights and N(0, I) for the regularisation; the
      networks predict logarithms of variances. The KL is summed over features and averaged over samples.
      Eqs. 5 and 6 set one KL against the likelihoods of all N + M samples: for a mean loss a weight of
      1 / (N + M), for the 1,050 of avMNIST the default. Eq. 7 to the letter is `kl_weight=1`.
      (A trial on avMNIST with the means of either kind instead of Eq. 5's count, 20% with sound, 600 iterations, one
      seed: tested on images alone the default reached 94%, `inner_weight=0` and `kl_weight=1` stayed at chance.)
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
            On avMNIST the learned noise fails with some seeds (docs/avmnist.md).
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
        """`task` (Eq. 4), `inner`, `kl_reconstruction` and `kl_regularisation` (Eq. 6); see `Method.loss_terms`.

        Each is a sum over the samples that it is of, divided by the number of all samples.
        """
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
                    inner = loss * len(incomplete) / len(whole)
                    kl_weights = prediction.kl_weights.sum() / len(whole)
                    kl_regularisation = prediction.kl_regularisation.sum() / len(whole)
                theta = _descend(theta, loss, self.inner_rate)
        task = 0 * inner  # with its graph, so that a batch of incomplete samples alone can go backward
        if complete.numel() > 0:
            prediction = functional_call(self.network, theta, (image[complete], available[complete]))
            task = self.task_loss(prediction.logits, label[complete]) * len(complete) / len(whole)
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
