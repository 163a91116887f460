"""Real cases at half their size, for networks trained on half-size phantoms: what quick experiments are measured on.

    python tools/half_size.py --out DIR CASES [CASES ...]

A voxel becomes the mean of 2 x 2 x 2 voxels of 1 mm (of a region: its majority), and the header says 1 mm, as that of
a phantom of half the size (`medmiss phantom --shape 120,120,78`) does. Only for experiments: nothing that is measured
on these files holds for the cases themselves. Writes a plain folder a case, with its label map; one that is there is
never replaced.

Exit status: 0 done, 1 some case could not be written, 2 wrong usage.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from torch.nn.functional import avg_pool3d
from tqdm import tqdm

from medmiss.cases import CONVENTIONS, LAYOUTS, CaseError, Grid, find_cases, write_case
from medmiss.modalities import MODALITIES
from medmiss.transforms import LoadCased

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""The network's axes, LPS, and its 1 mm."""


def main() -> int:
    """Write the cases; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+", help="folders of labelled cases")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    try:
        cases = [case for folder in args.cases for case in find_cases(folder)]
    except CaseError as error:
        parser.error(str(error))
    names = Counter(case.name for case in cases)
    repeated = ", ".join(name for name, number in names.items() if number > 1)
    if repeated:
        parser.error(f"CASES: several cases are named {repeated}; rename them, or give each folder its own --out")
    failed = 0
    for case in tqdm(cases, unit="case", disable=None):
        try:
            if (args.out / case.name).exists():
                expected, remedy = "no folder of its name in --out", "remove it or give another --out"
                raise CaseError(case.name, "one that is there", expected, remedy, args.out / case.name)
            item = LoadCased(label=True)({"case": case})
        except CaseError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        image, regions = avg_pool3d(item["image"], 2).numpy(), avg_pool3d(item["label"], 2).numpy() > 0.5
        layout = LAYOUTS["plain"]
        images = {name: image[i] for i, name in enumerate(MODALITIES) if item["available"][i]}
        labels = CONVENTIONS[layout.convention].labels(regions)
        write_case(args.out, layout, case.name, images, Grid(image.shape[1:], AFFINE), labels)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
