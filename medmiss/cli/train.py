"""`medmiss train`: a thin layer over a bundle's training configuration."""

import argparse
import inspect
import json
import logging
import shlex
from pathlib import Path
from pydoc import locate
from typing import Any

from medmiss.cli import DEFAULT_BUNDLE
from medmiss.cli.phantom import positive
from medmiss.cli.predict import device, subset

logger = logging.getLogger(__name__)

PROFILES = ("light", "published")
FIXED = (
    *("splits", "val_fraction", "held_out_fraction", "phantom"),
    *("learning_rate", "train::optimizer", "train::scheduler"),
)
"""Entries, with all below them, that a checkpoint or the split of the run in a folder has fixed."""
SUMMARY = "train a bundle on a folder of cases"

EXAMPLES = """\
DIR holds labelled cases in any layout that 'medmiss predict' reads. Cases that lack modalities are used
with what they have. A fifth of the patients validates, or what --splits says: a JSON file
{"train": [names], "val": [names], "held_out": [names]} (the last for methods that consult cases between steps).

OUT becomes a bundle: OUT/models/model.pt has the weights that were best on the validation cases (the last
ones where nothing is validated), so 'medmiss predict --bundle OUT' uses them. OUT/tensorboard has the
curves, OUT/checkpoints/last.pt the state of the run, OUT/cache the prepared cases (it may be deleted). A
run that was stopped, however hard, goes on with --resume as if it had not been; its settings are those in
OUT/configs/train.json. What a checkpoint fixes (the split, the optimiser, its schedule) cannot change then.

--profile published is the paper's network and recipe (some 40 to 190 million parameters, made for a GPU),
where the bundle has it.

--teacher names the bundle of a network trained with all modalities, which MMANet learns from:
  medmiss train --bundle brats_dropout --data CASES --out runs/teacher --set modality_drop=none \\
    --set held_out_fraction=0.1
  medmiss train --bundle brats_mmanet --data CASES --out runs/mmanet --teacher runs/teacher

--phantoms N trains on N synthetic cases instead, made in the first epoch and kept in OUT/cache; --tissues
bases their anatomy on a tissue map (1 CSF, 2 GM, 3 WM), or on an atlas's folder (medmiss phantom --help).
They are the set 1000 whatever --seed says, unless --set phantom_seed=S names another.

Every entry of the bundle's configs/train.json can be set with --set, as MONAI names it: ID::ID=VALUE; with
--phantoms those of train_phantom.json too (phantom_seed, phantom_healthy, phantom_shape, phantom_procedural,
phantom_without). On a CPU an epoch of 160 cases takes some five minutes on two cores, so choose --epochs.
On several GPUs, with B the bundle's folder, CASES and OUT:
  torchrun --nproc_per_node=2 -m monai.bundle run --bundle_root B --dataset_dir CASES --output_dir OUT \\
    --config_file "['B/configs/train.json','B/configs/multi_gpu_train.json']"
OUT then holds the weights without being a bundle: predict with 'medmiss bundle run --bundle B --config inference
--weights OUT/models/model.pt --dataset_dir CASES --output_dir MASKS'.

examples:
  medmiss train --data CASES --out runs/mine
  medmiss train --out runs/mine --resume
  medmiss train --data CASES --out runs/flair_t2 --subset flair,t2 --epochs 100
  medmiss train --phantoms 200 --tissues downloads/sri24 --out runs/synthetic
  medmiss train --bundle brats_shaspec --data CASES --out runs/wide --set network_def::alpha=0.2 --set val_interval=1

Exit status: 0 done, 1 the run failed, 2 wrong usage. Research use only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES
    parser.add_argument("--bundle", metavar="B", help=f"name or folder (default: {DEFAULT_BUNDLE})")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of labelled cases")
    parser.add_argument("--phantoms", type=positive, metavar="N", help="synthetic cases to train on, instead of DIR")
    parser.add_argument("--tissues", type=Path, metavar="PATH", help="tissue map or atlas for the synthetic cases")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: runs/<bundle>)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    parser.add_argument("--splits", type=Path, metavar="FILE", help="which cases train and which validate")
    parser.add_argument(
        "--subset",
        type=subset,
        metavar="M,...",
        help="train for these modalities alone, such as flair,t2 (dedicated training)",
    )
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help="epochs of the whole run (default: the bundle's, 300)"
    )
    parser.add_argument(
        "--profile", choices=PROFILES, default="light", help="size and recipe (default: %(default)s, see below)"
    )
    parser.add_argument("--teacher", metavar="B", help="bundle that teaches, for a method that learns from one")
    parser.add_argument(
        "--start-from", metavar="B", help="bundle or run whose weights are taken where they fit, instead of random ones"
    )
    parser.add_argument(
        "--batch-size", type=positive, metavar="N", help="samples a step (default: the bundle's: 2, brats_mmanet 4)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="S", help="of the weights, the split and what a training draws (default: 0)"
    )
    parser.add_argument("--device", type=device, metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="of the forward pass")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that prepare samples")
    parser.add_argument(
        "--set", action="append", default=[], metavar="ID=VALUE", help="any entry of train.json; VALUE is JSON or text"
    )


def run(args: argparse.Namespace) -> int:
    """Train, and return the exit status.

    Raises:
        argparse.ArgumentError: when the arguments do not go together.
    """
    from medmiss.inference.bundle import segmentation_bundle

    overrides = overrides_of(args)
    source = segmentation_bundle(args.bundle or DEFAULT_BUNDLE)
    out = (args.out or Path("runs") / source.name).resolve()
    goes_on = args.resume and (out / "configs" / "train.json").is_file()
    if args.resume and not goes_on and args.data is None and args.phantoms is None:
        raise argparse.ArgumentError(None, f"--resume: there is no run in {out}; check --out")
    if not goes_on and (args.data is None) == (args.phantoms is None):
        raise argparse.ArgumentError(None, "what to train on: give either --data or --phantoms")
    if not args.resume and (out / "checkpoints" / "last.pt").is_file():
        raise argparse.ArgumentError(None, f"{out} holds an earlier run: --resume it or choose another --out")
    if goes_on and args.profile != "light":
        raise argparse.ArgumentError(
            None, f"--profile: the run in {out} has one; leave it out, or choose another --out"
        )
    base = out if goes_on else source
    if not (base / "configs" / "train.json").is_file():
        raise argparse.ArgumentError(None, f"bundle {base} has no configs/train.json: it cannot be trained")

    # Not at the top: they take seconds.
    from monai.bundle import ConfigParser

    from medmiss.training.bundle import read_inputs, write_run_bundle, write_run_config

    files = [base / "configs" / "train.json"]
    if args.phantoms and not goes_on:  # the run's own configuration has it already
        files.append(base / "configs" / "train_phantom.json")
    if args.profile != "light" and not goes_on:
        files.append(base / "configs" / f"{args.profile}.json")
        if not files[-1].is_file():
            raise argparse.ArgumentError(None, f"bundle {base.name} has no {args.profile} profile")
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    if args.data is not None and "phantoms" in parser:
        words = f"{base} is a run on synthetic cases; to go on with --data, train its bundle with --start-from {base}"
        raise argparse.ArgumentError(None, words)
    if args.teacher is not None and "teacher_bundle" not in parser:
        raise argparse.ArgumentError(None, f"--teacher: bundle {base.name} learns from none; leave it out")
    for name in overrides:
        problem = entry_problem(parser, name)
        if problem is not None:
            raise argparse.ArgumentError(None, f"{files[0]} {problem}")
    if goes_on and args.bundle is not None:
        _check_same_method(parser, source, out)
    inputs = read_inputs(out) if goes_on else {}
    if (out / "checkpoints" / "last.pt").is_file():
        _check_fixed(parser, inputs, overrides, out)
    parser.update({**inputs, **overrides, "bundle_root": str(base), "output_dir": str(out)})
    if parser.get("teacher_bundle", "none needed") is None:
        raise argparse.ArgumentError(None, f"bundle {base.name} learns from a teacher: name its bundle with --teacher")
    parser.parse()  # what a macro copies is copied with the changes of this run
    _check_crop(parser)
    if not goes_on:
        write_run_bundle(source, parser.get(), out)
    else:
        write_run_config(out, parser.get(), out)  # what this resumption changes holds for the next one too
        if (out / "splits.json").is_file():
            parser["splits"] = str(out / "splits.json")
        if (out / "checkpoints" / "last.pt").is_file():
            parser["start_from"] = None  # the checkpoint holds what came of it
    return _execute(parser, out)


def overrides_of(args: argparse.Namespace) -> dict[str, Any]:
    """The entries of the bundle's training configuration that the arguments set.

    Raises:
        argparse.ArgumentError: when DIR or FILE does not exist, or a subset or a setting cannot be read.
    """
    for path in (args.data, args.splits, args.tissues):
        if path is not None and not path.exists():
            raise argparse.ArgumentError(None, f"{path} does not exist")
    overrides: dict[str, Any] = {
        "dataset_dir": _absolute(args.data),
        "phantoms": args.phantoms,
        "tissues": _absolute(args.tissues),
        "splits": _absolute(args.splits),
        "start_from": None if args.start_from is None else str(weights_of("--start-from", args.start_from)),
        "teacher_bundle": None if args.teacher is None else str(weights_of("--teacher", args.teacher).parents[1]),
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "seed": args.seed,
        "precision": args.precision,
        "workers": args.workers,
    }
    overrides = {name: value for name, value in overrides.items() if value is not None}
    overrides |= {"resume": args.resume, "quiet": args.quiet}
    if args.device is not None:
        overrides["device::name"] = args.device
    if args.subset is not None:
        overrides |= {"modalities": ",".join(args.subset), "modality_drop": "none", "val_subsets": ["all"]}
    for setting in args.set:
        name, equals, value = setting.partition("=")
        if not equals:
            raise argparse.ArgumentError(None, f"--set {setting}: expected ID=VALUE")
        overrides[name] = value_of(value)
    return overrides


def weights_of(option: str, bundle: str) -> Path:
    """The file of the weights of the bundle that the option names.

    Raises:
        argparse.ArgumentError: when it has none.
    """
    from medmiss.inference.bundle import resolve_bundle

    folder = resolve_bundle(bundle)
    weights = folder / "models" / "model.pt"
    if not weights.is_file():
        raise argparse.ArgumentError(None, f"{option}: {folder.name} has no weights ({weights}); train it first")
    return weights


def entry_problem(parser: Any, name: str) -> str | None:
    """Why the configuration in `parser` cannot have the entry `name` (`ID::ID`), or None when it can.

    An entry can be one that is there already, or an argument that the component it belongs to takes.
    """
    from monai.bundle import ComponentLocator, ConfigComponent

    if name in parser:
        return None
    parent, _, argument = name.rpartition("::")
    component = parser.get(parent) if parent in parser else None
    if not ConfigComponent.is_instantiable(component):
        return f"has no entry {name}"
    made = ConfigComponent(component, parent, ComponentLocator()).resolve_module_name()
    target: Any = locate(made) if isinstance(made, str) else made
    parameters = inspect.signature(target).parameters
    if argument in parameters or argument.startswith("_") or "kwargs" in parameters:
        return None
    return f"has no entry {name}: {made} takes {', '.join(parameters)}"


def _check_fixed(parser: Any, inputs: dict[str, Any], overrides: dict[str, Any], out: Path) -> None:
    """A run that goes on from a checkpoint keeps what is restored from it.

    Raises:
        argparse.ArgumentError: when `overrides` change an entry of `FIXED`.
    """
    for name, value in overrides.items():
        began = inputs.get(name, parser.get(name, None))
        if name.startswith(FIXED) and value != began:
            raise argparse.ArgumentError(
                None,
                f"--resume: {name} is {began!r} in the run in {out} and cannot become {value!r}, since its checkpoint "
                "fixes it; leave it out, or begin another run with --start-from",
            )


def _check_same_method(parser: Any, source: Path, out: Path) -> None:
    """A run goes on with the method that it began with.

    Raises:
        argparse.ArgumentError: when the bundle `source` has another.
    """
    begun = parser.get("network_def", {}).get("_target_")
    asked = json.loads((source / "configs" / "train.json").read_text()).get("network_def", {}).get("_target_")
    if begun != asked:
        raise argparse.ArgumentError(
            None, f"--bundle: the run in {out} trains {begun}, not {asked}; leave --bundle out, or choose another --out"
        )


def _check_crop(parser: Any) -> None:
    """The network takes crops of this size, as far as its backbone says (`LightUNet.check_size`).

    Raises:
        argparse.ArgumentError: when it does not.
    """
    if "crop_size" not in parser or "network_def::backbone" not in parser:
        return
    check = getattr(parser.get_parsed_content("network_def::backbone"), "check_size", None)
    if check is None:
        return
    try:
        check(parser.get_parsed_content("crop_size"))
    except ValueError as error:
        raise argparse.ArgumentError(None, f"crop_size: {error}") from error


def _execute(parser: Any, out: Path) -> int:
    """Run the configuration's steps as `python -m monai.bundle run` does, and return the exit status.

    Raises:
        KeyboardInterrupt: when the user stops it; it says how to go on.
    """
    from medmiss.cli.failures import explained

    try:
        logger.info("%s", _plan(parser, out))
        for step in ("initialize", "run"):
            for index in range(len(parser[step])):
                parser.get_parsed_content(f"{step}::{index}")
    except KeyboardInterrupt:
        if not (out / "checkpoints" / "last.pt").is_file():
            raise KeyboardInterrupt("interrupted before the first checkpoint; start again") from None
        way_on = f"medmiss train --out {shlex.quote(str(out))} --resume"
        raise KeyboardInterrupt(f"interrupted; this goes on from the last checkpoint: {way_on}") from None
    except Exception as error:
        cause = explained(error)
        if cause is None:
            raise
        logger.error("%s", cause)
        logger.debug("where it happened:", exc_info=error)
        return 1
    logger.info("the weights are in %s: medmiss predict --bundle %s uses them", out / "models" / "model.pt", out)
    return 0


def _plan(parser: Any, out: Path) -> str:
    """What is going to happen, and when."""
    names = ("epochs", "val_interval")
    epochs, interval = (parser.get_parsed_content(name) if name in parser else None for name in names)
    words = [f"run in {out}"]
    if epochs is not None:
        words.append(f"{epochs} epochs")
    if epochs is not None and interval is not None:
        words.append(f"validation after every {interval} epochs and the last")
    if "phantoms" in parser:
        words.append("the synthetic cases are made in the first epoch, which takes longer for it")
    return "; ".join(words)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def value_of(text: str) -> Any:
    """What a user means by the VALUE of a setting: JSON, or else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
