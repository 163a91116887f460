"""The `medmiss` command: finds the command named, parses its arguments, runs it, says how it ended.

A command is a module of this folder with `SUMMARY`, `add_arguments(parser)` and `run(args) -> int`;
only the one that was asked for is imported, so that help answers at once.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from medmiss import __version__

DONE, FAILED, WRONG_USAGE = 0, 1, 2
"""Exit statuses: done and clean; some case failed, or there are findings; the command line was wrong."""

COMMANDS = {
    "predict": "segment cases with whatever modalities they have",
    "evaluate": "score masks against references, by a challenge's rules",
    "slicer": "turn label maps into files for 3D Slicer",
    "submit": "pack predicted masks for a challenge",
    "check": "check a challenge submission before it is uploaded",
    "subsets": "measure a bundle on labelled cases with every subset of the modalities",
    "train": "train a bundle on a folder of cases",
    "classify": "train and test the methods on two-modality classification",
    "phantom": "write synthetic cases",
    "info": "show version, bundles and what each is made of",
    "demo": "the main job on synthetic cases, with scores and a picture",
    "bundle": "run MONAI's bundle tool on a bundle by its name",
}
"""Every command and its summary; `medmiss.cli.<command>` is its module."""

EXAMPLES = """\
examples:
  medmiss predict CASES MASKS                  every case in a folder
  medmiss predict --flair f.nii.gz --t2 t2.nii.gz MASKS
  medmiss info brats_dropout                   what a bundle is made of
  medmiss demo OUT                             try it without data

'medmiss COMMAND --help' has each command's options and examples.
Exit status: 0 done; 1 some case failed; 2 wrong usage.
Research use only: not for clinical decisions."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `medmiss`; those of the process when None.

    Returns:
        The exit status: 0, 1 or 2 as `DONE`, `FAILED`, `WRONG_USAGE` say.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in COMMANDS:
        top = _top_parser()
        top.parse_args(words)  # ends the process for --help, --version and an unknown command
        top.print_help(sys.stderr)
        return WRONG_USAGE
    module = import_module(f"medmiss.cli.{words[0]}")
    parser = argparse.ArgumentParser(
        prog=f"medmiss {words[0]}",
        description=module.SUMMARY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="log warnings and errors only")
    if parser.get_default("passed_on") is None:
        args = parser.parse_intermixed_args(words[1:])
    else:  # the command hands on what it does not know
        args, args.passed_on = parser.parse_known_args(words[1:])
    _set_up_logging(args.quiet)
    # Not at the top: help needs neither.
    from medmiss.cases.errors import CaseError
    from medmiss.inference.bundle import BundleError

    try:
        return module.run(args)
    except (argparse.ArgumentError, BundleError) as error:  # what only the command can tell of its arguments
        parser.error(str(error))
    except (CaseError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted; what is complete was kept")


def _top_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="medmiss",
        usage="medmiss COMMAND [options]",
        description=f"Brain tumour segmentation when MRI modalities are missing.\n\ncommands:\n{table}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"medmiss {__version__}")
    parser.add_argument("command", nargs="?", choices=COMMANDS, help=argparse.SUPPRESS)
    return parser


def _set_up_logging(quiet: bool) -> None:
    """Log medmiss to stderr, and of the libraries below it what is at least a warning."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("medmiss").setLevel(logging.WARNING if quiet else logging.INFO)


def _fail(message: str) -> int:
    sys.stderr.write(f"medmiss: error: {message}\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
