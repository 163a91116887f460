"""Draw what papers show of a trained network, from a run's own logs and weights.

    python tools/plot_run.py RUN [--cases DATA] [--out DIR] [--device auto]

RUN is the output folder of `medmiss train`. From what is there, into DIR (default: RUN/figures):

    training.png            loss terms and validation Dice by epoch (needs tensorboard, now and in the training)
    modality_weights.png    MCKD: the importance weight of each modality
    teachers.png            LCKD: what each modality scores alone, the winner of each region, and who teaches
    combinations.png        MMANet: how far the predictions move without each modality

With --cases, a case or a folder of a few, labelled or not, of which every window is encoded:

    generated_features.csv  how far the bottleneck feature of each modality is from what the network would put there
                            from each subset without it: L1 distance (mean over elements) and cosine similarity, means
                            over the windows of a case. To compare with: the L1 distance of zeros, and that of the true
                            features of two windows; features that are the same for all windows are easy to generate.
    generated_<kind>.png    the same, means over cases: of the "bottleneck" features; of ShaSpec of the "fused" ones,
                            which generated ones stand for, and of the "shared" ones, which they are made of
    tsne.csv, tsne.png      t-SNE of the bottleneck features averaged over each window, by modality; of ShaSpec its
                            shared and specific ones (needs scikit-learn)

Exit status: 0 done, 1 a figure or a case failed, 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from medmiss.cases import REGIONS, Case, find_cases, write_atomically
from medmiss.cli.failures import explained
from medmiss.evaluation.feature_plots import SklearnMissing, draw_embedding, draw_generated, embedded, separation
from medmiss.evaluation.run_plots import draw_divergences, draw_elections, draw_modality_weights, draw_training
from medmiss.inference import BundleError, CasePredictor, load_bundle
from medmiss.inference.bundle import INFERENCE_CONFIG
from medmiss.inference.failures import one_sentence
from medmiss.inference.features import FeatureStudy
from medmiss.modalities import DISPLAY_NAMES, parse_subset, subset_name

ITERATION = "iteration/"
"""What the TensorBoard tags of single iterations begin with; each loss term has one."""

TABLES: dict[str, Callable[[Path, pd.DataFrame], None]] = {
    "modality_weights": draw_modality_weights,
    "teachers": draw_elections,
    "combinations": lambda path, table: draw_divergences(path, table, dict(enumerate(DISPLAY_NAMES.values()))),
}
"""What a method leaves in a run, and how it is drawn."""


def main() -> int:
    """Draw, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="output folder of medmiss train")
    parser.add_argument("--cases", type=Path, metavar="DATA", help="case or folder of cases to look at features of")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the figures (default: RUN/figures)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    args = parser.parse_args()
    run: Path = args.run
    if not (run / INFERENCE_CONFIG).is_file():
        parser.error(f"{run} is no output folder of medmiss train: it has no {INFERENCE_CONFIG}")
    if args.cases is not None and not args.cases.exists():
        parser.error(f"--cases: no such file or folder: {args.cases}")
    out: Path = args.out or run / "figures"
    problems = plot_logs(run, out)
    if args.cases is not None:
        try:
            problems += plot_features(run, args.cases, args.device, out)
        except Exception as error:
            cause = explained(error)
            if cause is None:
                raise
            problems.append(str(cause))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def plot_logs(run: Path, out: Path) -> list[str]:
    """Draw what the run logged; what is wrong, a sentence each."""
    problems = []
    events = run / "tensorboard"
    if not events.is_dir():
        print(f"{run} has no tensorboard/, and so no losses: a run with --quiet or without tensorboard logs none")
    elif find_spec("tensorboard") is None:
        problems.append("reading losses needs tensorboard, which is not installed: pip install 'medmiss[tensorboard]'")
    else:
        losses, dice = curves(events)
        if len(losses):
            draw_training(_said(out / "training.png"), losses, dice)
        else:
            problems.append(f"{events} has no loss of a whole epoch: let the run finish one")
    for name, draw in TABLES.items():
        file = run / f"{name}.csv"
        if file.is_file():
            table = pd.read_csv(file)
            if len(table):
                draw(_said(out / f"{name}.png"), table)
            else:
                print(f"{file} is empty: the run was too short for an entry")
    return problems


def curves(events: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means of the loss terms by epoch, and the Dice of each validation, from TensorBoard's files.

    Returns:
        A column a term, `loss` their sum; a column a region, `mean`, and a column a subset. Both by epoch.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(events), size_guidance={"scalars": 0})
    log.Reload()
    tags = log.Tags()["scalars"]

    def table(columns: dict[str, str]) -> pd.DataFrame:
        # An epoch that a killed run had begun is there twice: the later value is that of the run's weights.
        values = {
            column: {event.step: event.value for event in sorted(log.Scalars(tag), key=lambda event: event.wall_time)}
            for tag, column in columns.items()
            if tag in tags
        }
        return pd.DataFrame(values).sort_index()

    terms = {tag.removeprefix(ITERATION): tag.removeprefix(ITERATION) for tag in tags if tag.startswith(ITERATION)}
    regions = {**{f"dice_{region}": region for region in REGIONS}, "val_mean_dice": "mean"}
    subsets = {tag: tag.removeprefix("dice_") for tag in tags if tag.startswith("dice_") and tag not in regions}
    return table(terms), table({**regions, **subsets})


def plot_features(run: Path, cases: Path, device: str, out: Path) -> list[str]:
    """Encode the cases, write tables and figures; what is wrong, a sentence each.

    Raises:
        BundleError: when the run has no weights, or a network whose features are not known.
        CaseError: when there is no case.
    """
    config = load_bundle(run, {"device::name": device})
    predictor: CasePredictor = config.get_parsed_content("predictor")
    modalities = parse_subset(config["modalities"] or "all")
    studies, problems = {}, []
    for case in tqdm(find_cases(cases), unit="case", disable=None):
        try:
            studies[case.name] = studied(case.restricted_to(modalities), predictor)
        except BundleError:
            raise
        except Exception as error:  # whatever is wrong with one case, the others go on
            problems.append(one_sentence(case, error))
    if not studies:
        return problems
    if not next(iter(studies.values())).generates:
        print("this network puts zeros for a missing modality: there is no generated feature to compare")
    elif not any(study.generated for study in studies.values()):
        print("no case has two modalities: there is no generated feature to compare with a true one")
    else:
        table = generated_table(studies)
        _write(out / "generated_features.csv", table)
        for kind, own in table.groupby("kind", sort=False):
            draw_generated(_said(out / f"generated_{kind}.png"), own)
    return problems + plot_tsne(studies, out)


def studied(case: Case, predictor: CasePredictor) -> FeatureStudy:
    """The features of every window of a case."""
    study = FeatureStudy(predictor.network)
    study.study(predictor, case)
    return study


def generated_table(studies: dict[str, FeatureStudy]) -> pd.DataFrame:
    """A line a case, kind of feature, missing modality and available subset: means over windows, and their number."""
    lines = [{"case": case, **asdict(one)} for case, study in studies.items() for one in study.generated]
    table = pd.DataFrame(lines).rename(columns={"subset": "available"})
    table["missing"] = table["missing"].map(DISPLAY_NAMES)
    table["available"] = table["available"].map(subset_name)
    groups = table.groupby(["case", "kind", "missing", "available"], sort=False)
    return groups.mean().assign(windows=groups.size()).reset_index()


def plot_tsne(studies: dict[str, FeatureStudy], out: Path) -> list[str]:
    """Embed the averaged features of all windows; what is wrong, a sentence each."""
    rows = [(case, one) for case, study in studies.items() for one in study.pooled]
    features = np.stack([one.values.numpy() for _, one in rows])
    points = pd.DataFrame(
        {
            "case": [case for case, _ in rows],
            "kind": [one.kind for _, one in rows],
            "modality": [DISPLAY_NAMES[one.modality] for _, one in rows],
        }
    )
    try:
        points[["x", "y"]] = embedded(features)
        separations: dict[str, Any] = {
            str(kind): separation(features[own], points["modality"].to_numpy()[own])
            for kind, own in points.groupby("kind", sort=False).indices.items()
        }
    except (SklearnMissing, ValueError) as error:
        return [str(error)]
    _write(out / "tsne.csv", points)
    draw_embedding(_said(out / "tsne.png"), points, separations)
    return []


def _write(path: Path, table: pd.DataFrame) -> None:
    write_atomically(path, table.to_csv(index=False, float_format="%.6g").encode())
    _said(path)


def _said(path: Path) -> Path:
    print(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
