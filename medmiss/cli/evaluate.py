"""`medmiss evaluate`: scores of masks against references, by named protocol."""

import argparse
import logging
from pathlib import Path

from medmiss.cli.predict import LABELS

logger = logging.getLogger(__name__)

SUMMARY = "score masks against references, by a challenge's rules"

PROTOCOLS = ("literature", "brats2018", "brats2023", "brats2023-met", "brats2025")

EXAMPLES = """\
PRED and REF are each a folder of masks (<case>.nii.gz, with or without _seg), labelled cases (a folder of
them or one) or one file. Masks of the same name belong together, then those whose names share an id such as
00132-000; two files belong together whatever their names. ET, TC and WT are scored, and the resection cavity
where both sides may hold one (brats2024).

--protocol is one of
  literature     Dice as the papers on missing modalities report it: both masks empty is 1; HD95 as brats2018
  brats2018      the portal of 2018 to 2022: Dice, HD95 (the larger of the two directions' 95th percentiles),
                 sensitivity, specificity; an empty mask against one that is not: HD95 is the volume's diagonal
  brats2023      lesion by lesion, glioma 2023: the reference dilated 3 times, lesions up to 50 mm3
                 left out, 0 and 374 for each lesion missed or invented; HD95 by surface area (surfels)
  brats2023-met  the same for metastases: dilated once, up to 2 mm3
  brats2025      2025 and 2026: lesions paired one to one, means over matched lesions; HD95 of both directions'
                 distances pooled, and NSD; of the whole region in voxels (NSD within 0.5), of a lesion in mm
                 (NSD within the smallest voxel size)
HD95 is in mm unless said otherwise. Its values under two protocols are not comparable.

Label values differ by year. A prediction is read by --labels, else by what 'medmiss predict' recorded beside
it, else like its reference; a reference by --reference-labels, else by what its name tells
(BraTS-GLI-00000-000, BraTS2021_00000, brats_2013_, labelsTr), else as brats2018.

OUT gets metrics.csv (a line a case and region), summary.csv (mean, median, sd by region and metric) and, where
the protocol looks at lesions, lesions.csv (a line a lesion). An empty cell is an undefined score, left out of
the summary and counted there; inf is an infinite one (brats2025, one mask empty), for which the summary takes
373, as the challenge's own table does. A reference without a prediction is scored 0 and 373 by brats2025; the
other protocols have no rule for it, so it is not scored. Tables of an earlier run in OUT are replaced, once a
case is scored.

examples:
  medmiss evaluate MASKS CASES --protocol brats2018 --out SCORES
  medmiss evaluate MASKS LABELS --protocol brats2025 --labels brats2023 --reference-labels brats2024 --out SCORES
  medmiss evaluate mask.nii.gz reference.nii.gz --protocol literature --out SCORES

Exit status: 0 all scored, 1 some case failed or was not scored, 2 wrong usage."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES
    parser.add_argument("predictions", type=Path, metavar="PRED", help="the masks to score")
    parser.add_argument("references", type=Path, metavar="REF", help="the masks to score them against")
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True, help="the rules, see below")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder of the tables")
    parser.add_argument("--labels", choices=LABELS, help="label values of the predictions")
    parser.add_argument("--reference-labels", choices=LABELS, help="label values of the references")


def run(args: argparse.Namespace) -> int:
    """Score, write the tables, print the means, and return the exit status.

    Raises:
        argparse.ArgumentError: when PRED or REF does not exist.
        CaseError: when one of them holds no masks, or none belongs to the other.
    """
    for name, place in (("PRED", args.predictions), ("REF", args.references)):
        if not place.exists():
            raise argparse.ArgumentError(None, f"{name}: no such file or folder: {place}")
    from medmiss.cases import CaseError, find_masks
    from medmiss.evaluation import PROTOCOLS as RULES
    from medmiss.evaluation.evaluate import Evaluation, Pairing, evaluate_masks, pair_masks
    from medmiss.evaluation.score_tables import means_text, write_tables

    predictions, references = find_masks(args.predictions), find_masks(args.references)
    if args.predictions.is_file() and args.references.is_file():
        ((prediction,), ((case, reference),)) = predictions.values(), references.items()
        pairing = Pairing({case: (prediction, reference)}, {}, {}, [])
    else:
        pairing = pair_masks(predictions, references)
    if not pairing.pairs and not pairing.ambiguous:
        found = f"predictions such as {next(iter(predictions))}, references such as {next(iter(references))}"
        raise CaseError(args.predictions.name, found, "names in common", "name the predictions like the references")
    protocol = RULES[args.protocol]
    evaluation = Evaluation(protocol, args.labels, args.reference_labels)
    scores = evaluate_masks(evaluation, pairing, progress=not args.quiet)
    if scores.cases:
        summary = write_tables(args.out, scores.cases, protocol)
        cases = "1 case" if len(scores.cases) == 1 else f"{len(scores.cases)} cases"
        print(f"{protocol.name}, {cases}, means:\n{means_text(summary)}")
    if scores.unscored:
        logger.error("not scored: %s", ", ".join(sorted(scores.unscored)))
    if not scores.cases:
        logger.error("nothing was scored: no table is written, and those of an earlier run in %s stay", args.out)
    return 1 if scores.unscored else 0
