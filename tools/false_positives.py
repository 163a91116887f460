"""What a bundle marks where there is no tumour: volumes of ET, TC and WT in ml.

    python tools/false_positives.py --out DIR [--bundle B] [--cases FOLDER ...] [--sri24 DIR] [--phantoms N]
                                      [--tissues PATH] [--modalities M,... ...]

Predicts from all modalities that a case has, or from each of the subsets --modalities: the cases of each FOLDER (such
as patients with multiple sclerosis), the SRI24 atlas's own head (T1 `spgr`, T2 `late`, and the proton-density image
`erly` in the place of FLAIR, cut to its tissue map), and N healthy phantoms, procedural or on the anatomy of PATH.
Writes DIR/false_positives.csv (group, asked, case, modalities, et_ml, tc_ml, wt_ml) and prints it with the median of
each group and subset. What is predicted already is not predicted again. A case that fails is named, and the table is
of the others.

Exit status: 0 done, 1 some case failed, 2 wrong usage.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd

import running
from medmiss.cases import LAYOUTS, CaseError, Grid, ImageSource, read_volume, write_atomically, write_case
from medmiss.cli import DEFAULT_BUNDLE
from medmiss.phantom.tissues import TEXTURES, anatomy_files

REGIONS = {"ET": "et_ml", "TC": "tc_ml", "WT": "wt_ml"}


def main() -> int:
    """Predict, and write the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for cases, masks and the table")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, help="name or folder (default: %(default)s)")
    parser.add_argument("--cases", type=Path, nargs="*", default=[], help="folders of cases without a tumour")
    parser.add_argument("--sri24", type=Path, help="folder of the atlas, as NIfTI files")
    parser.add_argument("--phantoms", type=int, default=0, help="healthy phantoms (default: none)")
    parser.add_argument("--tissues", type=Path, help="anatomy of the phantoms, as medmiss phantom takes it")
    parser.add_argument("--shape", default="240,240,155", help="voxels of a phantom (default: %(default)s)")
    parser.add_argument(
        "--modalities", nargs="+", default=["all"], metavar="M,...", help="subsets to predict from, such as flair,t2"
    )
    args = parser.parse_args()
    names = [folder.resolve().name for folder in args.cases]
    names += ["sri24"] * (args.sri24 is not None) + ["phantoms"] * bool(args.phantoms)
    if not names:
        parser.error("nothing to predict: give --cases, --sri24 or --phantoms")
    repeated = ", ".join(name for name, number in Counter(names).items() if number > 1)
    if repeated:
        parser.error(f"several groups are named {repeated}, as the folders of --cases are; rename a folder")
    if args.sri24 is not None and args.sri24.is_file():
        parser.error(f"--sri24: {args.sri24} is a file, expected the folder of the atlas")
    groups: dict[str, Path | None] = {folder.resolve().name: folder for folder in args.cases}
    if args.sri24 is not None:
        groups["sri24"] = atlas_case(args.sri24, args.out / "cases" / "sri24")
    if args.phantoms:
        words = ["--healthy", *([] if args.tissues is None else ["--tissues", args.tissues])]
        groups["phantoms"] = running.phantoms(args.out / "cases" / "phantoms", args.phantoms, args.shape, *words)
    failed, tables = False, []
    for name, folder in groups.items():
        for subset in args.modalities:
            table, problem = volumes(name, folder, subset, args.bundle, args.out) if folder else (None, "not made")
            if problem:
                print(f"{name} from {subset}: {problem}, see above", file=sys.stderr)
                failed = True
            if table is not None and len(table):
                tables.append(table)
    if tables:
        table = pd.concat(tables)
        write_atomically(args.out / "false_positives.csv", table.to_csv(index=False).encode())
        print(table.to_string(index=False))
        medians = table.groupby(["group", "asked"], sort=False)[list(REGIONS.values())].median()
        print(f"\nmedian\n{medians.to_string()}")
    return 1 if failed else 0


def atlas_case(atlas: Path, folder: Path) -> Path | None:
    """The atlas's head as a case in `folder`; None when a file of the atlas cannot be read, which is said."""
    try:
        tissues, *heads = (read_volume(ImageSource(file), "sri24") for file in anatomy_files(atlas))
    except CaseError as error:
        print(error, file=sys.stderr)
        return None
    images = {modality: head.array * (tissues.array > 0) for modality, head in zip(TEXTURES, heads, strict=True)}
    write_case(folder, LAYOUTS["plain"], "sri24", images, Grid(tissues.array.shape, tissues.affine), None)
    return folder


def volumes(group: str, cases: Path, subset: str, bundle: str, out: Path) -> tuple[pd.DataFrame, str]:
    """Predict a folder of cases from a subset of the modalities, or `"all"`.

    Returns:
        A line a case that is predicted, and what failed, empty when nothing did.
    """
    masks = out / "masks" / subset / group
    report = masks / "run.json"
    report.unlink(missing_ok=True)  # what fails early writes none
    failed = ""
    try:
        words = [] if subset == "all" else ["--modalities", subset]
        running.medmiss("predict", cases, masks, "--bundle", bundle, *words, "--report", report)
    except subprocess.CalledProcessError:
        failed = "not all cases predicted"
    rows, names = [], []
    for case in json.loads(report.read_text())["cases"] if report.is_file() else []:
        if case["status"] == "failed":
            names.append(case["case"])
            continue
        told = {"group": group, "asked": subset, "case": case["case"], "modalities": "+".join(case["modalities_used"])}
        rows.append({**told, **{name: case["volumes_ml"][region] for region, name in REGIONS.items()}})
    return pd.DataFrame(rows), f"{failed} ({', '.join(names)} failed)" if names else failed


if __name__ == "__main__":
    sys.exit(main())
