"""SMIL's priors: centres of a modality's features by K-means, fitted before the run and again as the encoders learn."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.networks.utils import eval_mode
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from medmiss.methods.interval import iterations_of
from medmiss.methods.smil import SMIL
from medmiss.methods.smil_network import Reconstruction

logger = logging.getLogger(__name__)

STARTS = 10
"""K-means is started as often, and the tightest result is kept."""


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

    def _features(self) -> list[np.ndarray]:
        """Both modalities' features of the complete samples, `(samples, C_i)`, without dropout."""
        network = self.method.network
        device = next(network.parameters()).device
        rows: list[list[np.ndarray]] = [[], []]
        # Data loaders draw from the generator of training.
        with eval_mode(network), torch.random.fork_rng(devices=[]):
            for batch in self.data_loader:
                complete = batch["available"].all(dim=1)
                if complete.any():
                    whole = (batch[key][complete].to(device) for key in ("image", "available"))
                    for modality, features in enumerate(network.encode(*whole)):
                        rows[modality].append(features.double().cpu().numpy())
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
