"""Put what was measured of a bundle's weights into its metadata and its model card.

    python tools/record_scores.py SCORES BUNDLE --what "mean Dice on three real cases, post-processed"

SCORES is the folder that `medmiss subsets CASES --bundle BUNDLE --out SCORES` wrote; scores of other weights than
those that BUNDLE has are refused. The means of the post-processed masks become `eval_metrics` of
BUNDLE/configs/metadata.json, from which `medmiss predict` says what to expect; the tables by subset and by case, and
from which modalities a region is a guess, stand in BUNDLE/docs/README.md between the lines
`<!-- scores -->` and `<!-- end of scores -->`, which must be there.
"""

import argparse
import json
import sys

import pandas as pd

import running
from medmiss.cases import REGIONS, write_atomically
from medmiss.cases.files import sha256_of, write_json
from medmiss.evaluation.statistics import by_subset
from medmiss.inference.trust import GUESS, ROUGH, WEIGHTS, verdict

BEGIN, END = "<!-- scores -->", "<!-- end of scores -->"
RAW, FINAL = "dice", "dice_postprocessed"


def main() -> int:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=running.existing, help="output folder of medmiss subsets")
    parser.add_argument("bundle", type=running.existing, help="folder of the bundle")
    parser.add_argument("--what", required=True, help="what the means are of, in a few words")
    args = parser.parse_args()
    card = args.bundle / "docs" / "README.md"
    try:
        scores = pd.read_csv(args.scores / "subsets.csv", dtype={"case": str})
        measured = json.loads((args.scores / "settings.json").read_text(encoding="utf-8"))["settings"]["weights"]
        weights = sha256_of(args.bundle / "models" / "model.pt")
        before, begin, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    except OSError as error:
        parser.error(str(error))
    except (KeyError, TypeError, ValueError):
        parser.error(f"{args.scores} has other files than medmiss subsets writes: give the folder that was its --out")
    _, end, after = rest.partition(END)
    if not begin or not end:
        parser.error(f"{card} lacks the lines {BEGIN} and {END}")
    if measured != weights:
        parser.error(f"{args.scores} has scores of the weights {measured[:12]}, {args.bundle} has {weights[:12]}")
    metadata = args.bundle / "configs" / "metadata.json"
    metrics = {WEIGHTS: weights, args.what: trusted(scores)}
    content = json.loads(metadata.read_text(encoding="utf-8")) | {"eval_metrics": metrics}
    tables = "\n\n".join(
        (
            means_table(scores),
            f"By the means after post-processing a region is a guess (Dice below {GUESS:.2f}) or rough "
            f"(below {ROUGH:.2f}) from:",
            trust_table(scores),
            "Case by case, ET/TC/WT after post-processing:",
            cases_table(scores),
        )
    )
    write_json(metadata, content)
    write_atomically(card, f"{before}{BEGIN}\n{tables}\n{END}{after}".encode())
    return 0


def trusted(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean Dice of each region by subset, after post-processing."""
    table = by_subset(scores)[FINAL]
    return {
        str(subset): {region: round(float(row[region]), 4) for region in REGIONS} for subset, row in table.iterrows()
    }


def means_table(scores: pd.DataFrame) -> str:
    """Means over cases in %, raw and post-processed, a line a subset, and the mean over subsets."""
    means = 100 * by_subset(scores)
    lines = [f"| modalities | {' | '.join(REGIONS)} | {' | '.join(f'{r} post' for r in REGIONS)} |", "|---" * 7 + "|"]
    for subset, row in means.iterrows():
        lines.append(f"| {subset} | {cells(row)} |")
    return "\n".join([*lines, f"| **mean** | {cells(means.mean())} |"])


def trust_table(scores: pd.DataFrame) -> str:
    """A line a region: the subsets from which its post-processed mean is a guess, and those from which it is rough."""
    lines = ["| | a guess | rough |", "|---|---|---|"]
    table = trusted(scores)
    for region in REGIONS:
        said = {subset: verdict(means[region]) for subset, means in table.items()}
        named = [", ".join(s for s in said if said[s] == words) or "-" for words in ("a guess", "rough")]
        lines.append(f"| {region} | {' | '.join(named)} |")
    return "\n".join(lines)


def cells(row: pd.Series) -> str:
    """The six numbers of a line."""
    return " | ".join(f"{row[measure, region]:.1f}" for measure in (RAW, FINAL) for region in REGIONS)


def cases_table(scores: pd.DataFrame) -> str:
    """Every case's post-processed Dice in %, a line a subset; "-" where the case was not measured."""
    cases = list(dict.fromkeys(scores["case"]))
    lines = [f"| modalities | {' | '.join(cases)} |", "|---" * (1 + len(cases)) + "|"]
    tables = {case: 100 * by_subset(scores[scores["case"] == case])[FINAL] for case in cases}
    for subset in by_subset(scores).index:
        texts = [
            "/".join(f"{table.loc[subset, region]:.0f}" for region in REGIONS) if subset in table.index else "-"
            for table in tables.values()
        ]
        lines.append(f"| {subset} | {' | '.join(texts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
