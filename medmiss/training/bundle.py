"""The output folder of a run as a bundle of its own, which predicts with the trained weights."""

import json
import shutil
from pathlib import Path
from typing import Any

from medmiss.cases.files import write_json

CONFIGS = Path("configs")
EVALUATION = CONFIGS / "evaluate.json"
INPUTS = Path("checkpoints") / "inputs.json"
"""Where a run keeps the user's own paths, which a bundle that is passed on must not tell."""
PATHS = {
    **dict.fromkeys(("dataset_dir", "tissues", "teacher_bundle", "start_from", "splits")),
    "cache_dir": "$@output_dir + '/cache'",
}
"""The entries of `train.json` that hold them, and what stands there instead."""


def write_run_bundle(source: Path, config: Any, out: Path) -> None:
    """Make `out` a bundle beside which the run puts `models/model.pt`.

    Nothing that the source says of its own weights is carried over.

    Args:
        source: the bundle that is trained.
        config: its training configuration with all changes of this run, a dictionary as in `train.json`.
        out: output folder of the run.
    """
    (out / CONFIGS).mkdir(parents=True, exist_ok=True)
    for name in ("LICENSE", CONFIGS / "logging.conf", CONFIGS / "multi_gpu_train.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    metadata = json.loads((source / CONFIGS / "metadata.json").read_text())
    metadata.pop("eval_metrics", None)
    metadata["version"] = "0.0.1"
    metadata["changelog"] = {"0.0.1": f"trained from the bundle {source.name} by medmiss train"}
    metadata["description"] = f"{metadata['task']}. Trained by medmiss train; not validated, not for clinical use."
    write_json(out / CONFIGS / "metadata.json", metadata)
    write_run_config(source, config, out)


def write_run_config(source: Path, config: Any, out: Path) -> None:
    """Write how the run in `out` trains and predicts, the user's own paths apart from it.

    Args:
        source: the bundle that is trained, or `out` itself when its run goes on.
        config: with all changes of this run, a dictionary as in `train.json`.
        out: output folder of the run.
    """
    inference = prediction_of(source, config)
    write_json(out / CONFIGS / "inference.json", inference)
    if (source / EVALUATION).is_file():
        evaluation = json.loads((source / EVALUATION).read_text())
        window = {f"validate::inferer::{name}": inference["inferer"][name] for name in ("roi_size", "overlap")}
        write_json(out / EVALUATION, {**evaluation, **window})
    inputs = {name: config[name] for name in PATHS if name in config}
    write_json(out / INPUTS, inputs)
    place = {"bundle_root": ".", "output_dir": "@bundle_root", "resume": False, "quiet": False}
    # Last: where it is, the folder is complete, and a run that is resumed reads it.
    write_json(out / CONFIGS / "train.json", {**config, **place, **{name: PATHS[name] for name in inputs}})


def prediction_of(source: Path, config: Any) -> dict[str, Any]:
    """`inference.json` of what is trained so: the source's, with training's network, modalities, preprocessing, window.

    `deployed_def` is the network without the parts that training alone needs; it fills in for missing modalities as
    the trained one does. The window is the crop of training, but for what `deployed_inferer` says, and for a run on
    the crops of the source, whose window it keeps.

    Args:
        source: see `write_run_config`.
        config: likewise.
    """
    inference = json.loads((source / CONFIGS / "inference.json").read_text())
    network = config["network_def"]
    filling = {name: network[name] for name in ("missing", "missing_skips") if name in network}
    inference["network_def"] = {**config.get("deployed_def", network), **filling}
    inference["preprocessing"]["transforms"][1:] = config["preparation"]["transforms"][1:]  # all but the loaders
    if config["crop_size"] != json.loads((source / CONFIGS / "train.json").read_text())["crop_size"]:
        inference["inferer"]["roi_size"] = config["crop_size"]
    inference["inferer"] |= config.get("deployed_inferer", {})
    if "modalities" in config:  # of dedicated training: the network knows no others
        inference["modalities"] = None if config["modalities"] == "all" else config["modalities"]
    return inference


def read_inputs(out: Path) -> dict[str, Any]:
    """The entries of `train.json` that say where the inputs of the run in `out` lie."""
    return json.loads((out / INPUTS).read_text())
