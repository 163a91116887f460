"""How far a mask can be trusted for the modalities at hand: what the bundle's own table of measured Dice says."""

from collections.abc import Mapping
from typing import Any

GUESS, ROUGH = 0.5, 0.7
"""Mean Dice below which a region is a guess (what mask and truth share is less than half of their mean volume), and
below which it is rough."""

WEIGHTS = "weights_sha256"
"""The entry of `eval_metrics` that says which weights were measured."""

CAUTION = "one case differs much from another: see the bundle's docs/README.md"
"""What is said with every mean."""


def trust_in(metadata: Mapping[str, Any], subset: str, sha256: str) -> str | None:
    """One sentence on each region's measured Dice from these modalities; None where nothing was measured.

    Args:
        metadata: of the bundle; a table in its `eval_metrics` gives, by subset and region, the mean Dice.
        subset: as `medmiss.modalities.subset_name` writes it.
        sha256: of the weights in use; of others the table says nothing.
    """
    metrics = metadata.get("eval_metrics", {})
    if metrics.get(WEIGHTS) != sha256:
        return None
    for measure, table in metrics.items():
        if isinstance(table, Mapping) and subset in table:
            words = [f"{region} {dice:.2f}{_bracketed(verdict(dice))}" for region, dice in table[subset].items()]
            return f"from {subset}, expect about {', '.join(words)} ({measure}; {CAUTION})"
    return None


def verdict(dice: float) -> str:
    """What a mean Dice (0 to 1) says of a region: `"a guess"`, `"rough"` or nothing."""
    return "a guess" if dice < GUESS else "rough" if dice < ROUGH else ""


def _bracketed(words: str) -> str:
    return f" ({words})" if words else ""
