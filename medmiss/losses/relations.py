"""Relational distillation: the student keeps the teacher's relations between the samples of a batch.

Wei, Luo, Luo: "MMANet: Margin-aware Distillation and Modality-aware Regularization for Incomplete Multimodal
Learning", CVPR 2023. The equation numbers below are the paper's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

RELATIONS = ("cosine", "gram")
GAPS = ("squared", "signed")
WEIGHTINGS = ("entropy", "softmax", "none")


class RelationLoss(nn.Module):
    """Weighted relation gaps between teacher and student (Eqs. 2 to 5 and 8).

    It mixes samples: 0 for a batch of one, and over several processes the rows must be gathered first. With
    `"cosine"` and `"squared"` two samples have the same gap, so that their weights have no say: weighting takes three.

    Args:
        relation: between two samples' features: `"cosine"` (Eq. 4), or `"gram"`, the inner product, each row of the
            matrix scaled to length 1 (published code).
        gap: of a sample, the sum over the others (Eq. 5) of the `"squared"` differences, as in the published code,
            or of the `"signed"` ones, as in the paper's text: these can cancel for unequal matrices, and the loss
            can become negative.
        weighting: of the samples, from the teacher's uncertainty H: `"entropy"` H / sum H (published code),
            `"softmax"` of H (Eq. 8), or `"none"`, all alike (the ablation SP).

    Raises:
        ValueError: when an option has no such value.
    """

    def __init__(self, relation: str = "cosine", gap: str = "squared", weighting: str = "entropy") -> None:
        super().__init__()
        chosen = {"relation": (relation, RELATIONS), "gap": (gap, GAPS), "weighting": (weighting, WEIGHTINGS)}
        for option, (value, known) in chosen.items():
            if value not in known:
                raise ValueError(f"RelationLoss: {option} is {value!r}, expected one of {', '.join(known)}")
        self.relation = relation
        self.gap = gap
        self.weighting = weighting

    @torch.jit.unused
    def forward(self, teacher: Tensor, student: Tensor, uncertainty: Tensor) -> Tensor:
        """Loss of a batch, a scalar; gradients go to the student alone.

        Args:
            teacher: features `(B, ...)`.
            student: features `(B, ...)`, which may be of another shape.
            uncertainty: `(B,)`, of the teacher, not negative.
        """
        if len(student) < 2:
            return student.new_zeros((), dtype=torch.float32)
        with torch.autocast(student.device.type, enabled=False):
            difference = self._relations(teacher.detach()) - self._relations(student)
        gap = (difference if self.gap == "signed" else difference.square()).sum(dim=1)
        return (self._weights(uncertainty.detach().float()) * gap).sum()

    def _relations(self, features: Tensor) -> Tensor:
        """The relation matrix `(B, B)` of features `(B, ...)`, flattened (Eqs. 2 and 3)."""
        rows = features.flatten(1).float()
        if self.relation == "gram":
            return functional.normalize(rows @ rows.T, dim=1)
        rows = functional.normalize(rows, dim=1)
        return rows @ rows.T

    def _weights(self, uncertainty: Tensor) -> Tensor:
        """One weight a sample; they sum to 1, or with `"entropy"` are 0 where the teacher is sure of every sample."""
        if self.weighting == "softmax":
            return uncertainty.softmax(dim=0)
        if self.weighting == "none":
            uncertainty = torch.ones_like(uncertainty)
        return uncertainty / uncertainty.sum().clamp(min=1e-30)


def region_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Entropy of overlapping regions: summed over the regions, mean over the voxels of a mask.

    Args:
        logits: `(B, regions, ...)`, one sigmoid each.
        mask: `(B, ...)` boolean; a sample without any voxel has entropy 0.

    Returns:
        `(B,)`, in nats.
    """
    logits = logits.float()
    each = (functional.softplus(logits) - logits * logits.sigmoid()).sum(dim=1)
    inside = each.where(mask, 0.0).flatten(1).sum(dim=1)
    return inside / mask.flatten(1).sum(dim=1).clamp(min=1)


def class_entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax over classes (Eqs. 6 and 7), mean over positions, where there are any.

    Args:
        logits: `(B, classes, ...)`.

    Returns:
        `(B,)`, in nats.
    """
    log_p = logits.float().log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).reshape(len(logits), -1).mean(dim=1)
