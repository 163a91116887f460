"""`medmiss bundle`: MONAI's own bundle tool, with the bundle named instead of spelled out in paths."""

import argparse
import sys
from pathlib import Path

from medmiss.cli import DEFAULT_BUNDLE

SUMMARY = "run MONAI's bundle tool on a bundle by its name"

EXAMPLES = """\
The rest of the line goes to `python -m monai.bundle COMMAND` as it is, and wins over what is filled in.

examples:
  medmiss bundle run --config inference --dataset_dir CASES --output_dir MASKS
  medmiss bundle run --config train,evaluate --dataset_dir CASES --output_dir EVALUATION
  medmiss bundle run --bundle ./my_bundle --config train --dataset_dir CASES --output_dir RUN
  medmiss bundle verify_net_in_out network_def --config inference
  medmiss bundle ckpt_export network_def --config inference --filepath model.ts"""

COMMANDS = (
    *("run", "run_workflow", "verify_metadata", "verify_net_in_out", "ckpt_export", "onnx_export", "trt_export"),
    *("init_bundle", "download", "download_large_files"),
)
"""What `python -m monai.bundle` can do."""

OVERRIDABLE = ("run", "verify_net_in_out", "ckpt_export", "onnx_export", "trt_export")
"""The MONAI commands that read configs and take any config id, such as `--bundle_root`, as an option."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; whatever else is on the line is passed on."""
    parser.usage = "medmiss bundle COMMAND [--bundle B] [--config NAME,...] [MONAI ARGUMENT ...]"
    parser.epilog = EXAMPLES
    parser.add_argument(
        "command", choices=COMMANDS, metavar="COMMAND", help="of monai.bundle: run, verify_metadata, ckpt_export, ..."
    )
    parser.add_argument(
        "--bundle", default=DEFAULT_BUNDLE, metavar="B", help="name or folder of a bundle (default: %(default)s)"
    )
    parser.add_argument(
        "--config",
        metavar="NAME,...",
        help="configs of the bundle, the later ones merged over the first: train,evaluate",
    )
    parser.set_defaults(passed_on=[])


def run(args: argparse.Namespace) -> int:
    """Do what `python -m monai.bundle` does; what fails for a reason that has a name ends in a sentence."""
    from medmiss.inference.bundle import resolve_bundle

    words = monai_words(args.command, resolve_bundle(args.bundle), args.config, args.passed_on)
    # Not before the bundle is found: it takes seconds.
    import fire
    from monai.bundle import scripts

    from medmiss.cli.failures import explained

    try:
        fire.Fire(getattr(scripts, args.command), command=words, name=f"medmiss bundle {args.command}")
    except Exception as error:
        cause = explained(error)
        if cause is None:
            raise
        sys.stderr.write(f"medmiss: error: {cause}\n")  # not logged: the bundle's logging.conf governs the log now
        return 1
    return 0


def monai_words(command: str, root: Path, config: str | None, passed_on: list[str]) -> list[str]:
    """The words after `python -m monai.bundle COMMAND`.

    Args:
        command: MONAI's command, such as `run`.
        root: the bundle's folder.
        config: names of its configs, separated by commas, or None.
        passed_on: the user's own MONAI arguments.

    Raises:
        argparse.ArgumentError: when the bundle has no such config.
    """
    filled = {"--meta_file": str(root / "configs" / "metadata.json")}
    if config:
        paths = [str(_config_file(root, name)) for name in config.split(",")]
        filled["--config_file"] = paths[0] if len(paths) == 1 else repr(paths)
    if command in OVERRIDABLE:
        filled["--bundle_root"] = str(root)
    logging_file = root / "configs" / "logging.conf"
    if command == "run" and logging_file.is_file():
        filled["--logging_file"] = str(logging_file)
    given = {word.split("=", 1)[0] for word in passed_on}
    options = [word for option, value in filled.items() if option not in given for word in (option, value)]
    return [*passed_on, *options]


def _config_file(root: Path, name: str) -> Path:
    path = root / "configs" / f"{name.strip()}.json"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in path.parent.glob("*.json")))
        raise argparse.ArgumentError(None, f"argument --config: {root.name} has no config {name!r}: it has {names}")
    return path
