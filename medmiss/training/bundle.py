"""The output folder of a run as a bundle of its own, which predicts with the trained weights."""

import json
import shutil
from pathlib import Path
from typing import Any

from medmiss.cases.files import write_json

CONFIGS = Path("configs")
INPUTS = Path("checkpoints") / "inputs.json"
"""Where a run keeps the user's own paths, which a bundle that is passed on must not tell."""


def write_run_bundle(source: Path, config: Any, out: Path) -> None:
    """Make `out` a bundle beside which the run puts `models/model.pt`.

    The network and the window of inference are those of training, but for what the configuration says in
    `deployed_def` (the network without the parts that training alone needs) and `deployed_inferer`; nothing that
    the source says of its own weights is carried over.

    Args:
        source: the bundle that is trained.
        config: its training configuration with all changes of this run, a dictionary as in `train.json`.
        out: output folder of the run.
    """
    (out / CONFIGS).mkdir(parents=True, exist_ok=True)
    for name in ("LICENSE", CONFIGS / "logging.conf", CONFIGS / "evaluate.json", CONFIGS / "multi_gpu_train.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    metadata = json.loads((source / CONFIGS / "metadata.json").read_text())
    metadata.pop("eval_metrics", None)
    metadata["version"] = "0.0.1"
    metadata["changelog"] = {"0.0.1": f"trained from the bundle {source.name} by medmiss train"}
    metadata["description"] = f"{metadata['task']}. Trained by medmiss train; not validated, not for clinical use."
    inference = json.loads((source / CONFIGS / "inference.json").read_text())
    inference["network_def"] = config.get("deployed_def", config["network_def"])
    inference["inferer"] |= {"roi_size": config["crop_size"], **config.get("deployed_inferer", {})}
    if config.get("modalities", "all") != "all":  # dedicated training: the network knows no others
        inference["modalities"] = config["modalities"]
    write_json(out / CONFIGS / "metadata.json", metadata)
    write_json(out / CONFIGS / "inference.json", inference)
    write_run_config(config, out)  # last: where it is, the folder is complete, and a run that is resumed reads it


def write_run_config(config: Any, out: Path) -> None:
    """Write the training configuration of the run in `out`, the user's own paths apart from it.

    Args:
        config: with all changes of this run, a dictionary as in `train.json`.
        out: output folder of the run.
    """
    inputs = {name: config[name] for name in ("dataset_dir", "tissues", "teacher_bundle") if name in config}
    write_json(out / INPUTS, inputs)
    place = {"bundle_root": ".", "splits": None, "output_dir": "@bundle_root", "resume": False, "quiet": False}
    place["start_from"] = None  # the checkpoint holds what came of it
    write_json(out / CONFIGS / "train.json", {**config, **place, **dict.fromkeys(inputs)})


def read_inputs(out: Path) -> dict[str, Any]:
    """The entries of `train.json` that say where the inputs of the run in `out` lie."""
    return json.loads((out / INPUTS).read_text())
