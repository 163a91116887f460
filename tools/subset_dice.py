"""Dice of a bundle on labelled cases for every subset of the modalities.

    python tools/subset_dice.py CASES [CASES ...] --bundle B --out FILE.csv [--subsets all flair,t2 ...]

Writes one line a case, subset and region (dice: raw; dice_postprocessed: after the bundle's post-processing,
whose ET rule shows in it) and prints the means over cases. A case takes part in the subsets it has.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from medmiss.cases import CONVENTIONS, Case, find_cases, read_label
from medmiss.evaluation import region_dice
from medmiss.inference import CasePredictor, load_bundle, resolve_bundle
from medmiss.modalities import SUBSETS, Subset, parse_subset, subset_name


def main() -> int:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path, help="what medmiss predict reads, with labels")
    parser.add_argument("--bundle", default="brats_shaspec", help="name or folder (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="CSV file")
    parser.add_argument("--subsets", nargs="*", type=parse_subset, default=SUBSETS, help="default: all 15")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tta", action="store_true", help="average over flips")
    args = parser.parse_args()
    config = load_bundle(resolve_bundle(args.bundle), {"device::name": args.device, "tta": args.tta})
    predictor = config.get_parsed_content("predictor")
    postprocess, predictor.postprocessing = predictor.postprocessing, None
    cases = [case for folder in args.cases for case in find_cases(folder) if case.label is not None]
    work = [(case, subset) for case in cases for subset in args.subsets if set(subset) <= set(case.available)]
    rows = []
    for case, subset in tqdm(work, disable=None):
        rows += measure(case, subset, predictor, postprocess)
    table = pd.DataFrame(rows)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False, float_format="%.4f")
    means = table.pivot_table(
        index="subset", columns="region", values=["dice", "dice_postprocessed"], sort=False, aggfunc="mean"
    )
    print((100 * means).round(1).to_string())
    print("mean over subsets:", (100 * means.mean()).round(1).to_dict(), f"({len(cases)} cases)")
    return 0


def measure(case: Case, subset: Subset, predictor: CasePredictor, postprocess: object) -> list[dict[str, object]]:
    """One line a region."""
    prediction = predictor(case.restricted_to(subset))
    reference = CONVENTIONS[case.convention].regions(read_label(case, prediction.grid).array)
    raw = region_dice(prediction.regions, reference)
    cleaned, _ = postprocess(prediction.regions, prediction.grid.voxel_volume_mm3)  # type: ignore[operator]
    after = region_dice(cleaned, reference)
    return [
        {
            "case": case.name,
            "subset": subset_name(subset),
            "region": region,
            "dice": raw[region],
            "dice_postprocessed": after[region],
        }
        for region in raw
    ]


if __name__ == "__main__":
    sys.exit(main())
