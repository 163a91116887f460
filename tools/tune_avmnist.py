"""Accuracy of a recipe on Audiovision-MNIST on held-out samples alone, never on the test set.

    python tools/tune_avmnist.py --data FILE --mnist DIR --system S [--audio-rate R] [--image-rate R] [--seeds N]
                                 [--set NAME=VALUE ...]

FILE is of tools/prepare_avmnist.py, DIR has MNIST's idx files. Each system is trained twice a seed: on all pairs, and
tested on images alone on 5,000 images of MNIST's training file that are not among the pairs; and without 15 pairs of
each digit, another choice each seed, and tested on those with image, sound and both. (LCKD and MCKD consult 15 of each
digit between steps: the first training goes without these too, and in the second they are the ones it is tested on.)
NAME is an argument of AvMnist, or recipe.NAME of Recipe, smil.NAME of SMIL, mmanet.NAME of MMANet: --set channels=64
--set recipe.weight_decay=0.001 --set smil.passes=0. Prints a line a seed, and the means, in %.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmiss.cases import CaseError
from medmiss.classification import AvMnist, read_avmnist
from medmiss.classification.experiment import HELD_OUT, measure_held_out, train_system
from medmiss.classification.fitting import measured
from medmiss.classification.sources import read_mnist
from medmiss.classification.systems import SYSTEMS, network_of, readable
from medmiss.cli.classify import rate
from medmiss.cli.phantom import positive

OTHERS = 5000


def main() -> int:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared file")
    parser.add_argument("--mnist", type=Path, required=True, help="folder of MNIST")
    parser.add_argument("--system", choices=tuple(SYSTEMS), required=True)
    parser.add_argument("--audio-rate", type=rate, default=1.0, help="default: %(default)s")
    parser.add_argument("--image-rate", type=rate, default=1.0, help="default: %(default)s")
    parser.add_argument("--seeds", type=positive, default=2, help="default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the recipe")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        how = changed(AvMnist(), args.set)
        for method in ("dropout", "smil", "mmanet"):  # those that the settings are of: wrong ones are said at once
            network_of(method, how.setup())
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        parser.error(f"--set: {error}")
    try:
        arrays = without_test(read_avmnist(args.data), args.mnist)
    except CaseError as error:
        parser.error(str(error))
    rows: list[dict[str, float]] = []
    for seed in range(args.seeds):
        run = {"audio_rate": args.audio_rate, "image_rate": args.image_rate, "seed": seed, "how": how}
        rows.append(held_out_accuracies(arrays, args.system, run))
        print(f"seed {seed}: {_text(rows[-1])}", flush=True)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    print(f"{args.system} {args.audio_rate} {args.image_rate} {' '.join(args.set)} mean: {_text(means)}")
    return 0


def without_test(arrays: dict[str, np.ndarray], mnist: Path) -> dict[str, np.ndarray]:
    """The arrays with an empty test set, and other training images in the place of `more`."""
    images, labels = read_mnist(mnist, "train")
    used = {image.tobytes() for image in arrays["train_image"]}
    rows = [row for row in range(len(images) - 1, -1, -1) if images[row].tobytes() not in used][:OTHERS]
    empty = {name: array[:0] for name, array in arrays.items() if name.startswith("test_")}
    return {**arrays, **empty, "more_image": images[rows], "more_label": labels[rows].astype(np.int64)}


def held_out_accuracies(arrays: dict[str, np.ndarray], system: str, run: dict[str, Any]) -> dict[str, float]:
    """`other_image`, and `held_out_image`, `held_out_sound` and `held_out_both` as far as the system goes."""
    method, sets = train_system(arrays, system, **run)
    found = {}
    if (0,) in readable(system, sets["train"].shares):
        found["other_image"] = measured(method, sets["more"], [(0,)])[0]
    order = np.random.default_rng((run["seed"], 2)).permutation(len(arrays["train_label"]))
    folded = {name: array[order] if name.startswith("train_") else array for name, array in arrays.items()}
    method, sets = train_system(folded, system, **run, held_out_per_digit=HELD_OUT)
    return found | measure_held_out(system, method, sets)


def changed(how: AvMnist, settings: list[str]) -> AvMnist:
    """The recipe with `NAME=VALUE` settings."""
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting}: expected NAME=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        part, _, inner = name.partition(".")
        before = getattr(how, part)
        default = getattr(before, inner, None) if inner else before
        if isinstance(default, int | float) and not isinstance(value, int | float):
            raise ValueError(f"{setting}: expected a number")
        if inner:
            value = {**before, inner: value} if isinstance(before, dict) else replace(before, **{inner: value})
        how = replace(how, **{part: value})
    return how


def _text(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * value:.1f}" for name, value in values.items())


if __name__ == "__main__":
    sys.exit(main())
