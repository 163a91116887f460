"""Rules applied to a predicted mask: small components and the enhancing-tumour rule."""

from medmiss.postprocessing.regions import (
    CONNECTIVITIES,
    ET_RULE_FIRED,
    ET_RULES,
    PRESETS,
    PostProcessing,
    postprocessing_preset,
)

__all__ = ["CONNECTIVITIES", "ET_RULES", "ET_RULE_FIRED", "PRESETS", "PostProcessing", "postprocessing_preset"]
