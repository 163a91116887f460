"""The segmentation loss of the published ShaSpec, LCKD and MCKD code: Dice plus binary cross-entropy."""

from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional


class RegionLoss(nn.Module):
    """Soft Dice (mean over samples and regions) + binary cross-entropy (voxel mean, summed over regions).

    Dice is (2 sum(py) + smooth_nr) / (sum(p) + sum(y) + 1), in voxels. Reduced per sample, so that the mean over two
    processes' batches is the loss of the joint batch.

    Args:
        dice_weight: factor of the Dice term.
        bce_weight: factor of the cross-entropy term.
        smooth_nr: 1 makes an empty region cost nothing when none is predicted. In the published code it is 0: an
            empty region costs a Dice loss of 1 whatever is predicted, and its Dice has no gradient.
    """

    def __init__(self, dice_weight: float = 1.0, bce_weight: float = 1.0, smooth_nr: float = 1.0) -> None:
        super().__init__()
        self.dice = DiceLoss(sigmoid=True, smooth_nr=smooth_nr, smooth_dr=1.0)
        self.dice_weight = dice_weight
        self.bce_weight = bce_weight

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Loss of `logits` `(B, 3, X, Y, Z)` against regions `label` of the same shape, a scalar."""
        logits = logits.float()
        label = label.to(logits.dtype)
        bce = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
        return self.dice_weight * self.dice(logits, label) + self.bce_weight * bce.flatten(2).mean(2).sum(1).mean()
