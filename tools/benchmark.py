"""Time and memory of prediction: medmiss with some modalities, beside what one would use instead.

    python tools/benchmark.py [--threads 2] [--repeats 3]
    python tools/benchmark.py --training [--threads 2]

Each way runs in a process of its own over the same box of random numbers (weights are random too: speed does not
depend on them) with the same window. Ratios are to medmiss with all four modalities. "zero-filled" is the usual way
to serve a missing modality: the encoders run on zeros in its place. SegResNet and UNet are MONAI's, with 4 input
channels, at the widths of MONAI's BraTS examples.

With --training: parameters, and time of a training iteration, of ShaSpec and SMIL on Audiovision-MNIST, side by side at
batch 4, as ShaSpec (CVPR 2023) measures them on a GPU; half of the batch has its sound.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import SegResNet, UNet
from torch import Tensor

from medmiss.classification import AvMnist, network_of
from medmiss.inference import ModalitySlidingWindowInferer
from medmiss.methods import SMIL, KMeansPriors, ShaSpec
from medmiss.modalities import MODALITIES, Subset, parse_subset, presence
from medmiss.networks import LightUNet
from medmiss.training import LossTerms
from medmiss.training.trainer import total

BOX = (144, 180, 144)
"""Voxels: a brain with its margin."""
WINDOW = (128, 128, 128)
Predict = Callable[[Tensor], object]


def medmiss(subset: Subset, zero_filled: bool = False) -> Predict:
    """The network of brats_shaspec on some modalities."""
    network = ShaSpec(LightUNet()).eval()
    inferer = ModalitySlidingWindowInferer(roi_size=WINDOW, overlap=0.5, mode="gaussian")
    used = MODALITIES if zero_filled else subset

    def run(image: Tensor) -> object:
        image = torch.where(torch.tensor(presence(subset)).reshape(1, -1, 1, 1, 1), image, 0.0)
        return inferer(image, network, present=torch.tensor([presence(used)]))

    return run


def of_monai(network: torch.nn.Module) -> Predict:
    """A network of MONAI's with the same window."""
    inferer = SlidingWindowInferer(roi_size=WINDOW, overlap=0.5, mode="gaussian")
    return lambda image: inferer(image, network.eval())


WAYS: dict[str, Callable[[], Predict]] = {
    "medmiss, four modalities": lambda: medmiss(MODALITIES),
    "medmiss, FLAIR+T2": lambda: medmiss(parse_subset("flair,t2")),
    "medmiss, T1c": lambda: medmiss(("t1c",)),
    "medmiss, T1c, others zero-filled": lambda: medmiss(("t1c",), zero_filled=True),
    "MONAI SegResNet(16), zero-filled": lambda: of_monai(
        SegResNet(init_filters=16, in_channels=4, out_channels=3, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1))
    ),
    "MONAI UNet(16..256), zero-filled": lambda: of_monai(
        UNet(3, 4, 3, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)
    ),
}


def measure(name: str, threads: int, repeats: int, results: "multiprocessing.Queue[tuple[float, float]]") -> None:
    """Median seconds of a prediction, and the process's peak memory in GiB."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    predict, image = WAYS[name](), torch.randn(1, len(MODALITIES), *BOX)
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            predict(image)
            seconds.append(time.perf_counter() - start)
    results.put((statistics.median(seconds[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


ITERATIONS = 30
"""That are timed, as in ShaSpec."""
PUBLISHED = {"shaspec": "0.22 M, 25.7 ms", "smil": "0.33 M, 130.9 ms"}
"""On a GPU of the authors'; 324,688 parameters of SMIL include networks that train apart or never run."""


def iteration_times(threads: int) -> None:
    """Print parameters and median time of a training iteration of ShaSpec and SMIL."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.rand(4, 2, 28, 28, generator=generator),
        "available": torch.tensor([[True, True], [True, False]] * 2),
        "label": torch.arange(4),
    }
    batch["present"] = batch["available"]
    complete = {"image": torch.rand(40, 2, 28, 28), "available": torch.ones(40, 2, dtype=torch.bool)}
    print(f"batch 4, {threads} threads, median of {ITERATIONS}")
    print(f"{'':<24}{'parameters':>12}{'ms':>8}   published")
    recipe = AvMnist().setup(0)
    ways = (
        ("shaspec", "shaspec", recipe, PUBLISHED["shaspec"]),
        ("smil", "smil", replace(recipe, smil={}), PUBLISHED["smil"]),  # as in the paper
        ("smil of docs/avmnist.md", "smil", recipe, ""),
    )
    for name, system, setup, published in ways:
        method = network_of(system, setup).train()
        if isinstance(method, SMIL):
            KMeansPriors(method, [complete]).fit()
        terms, optimizer = LossTerms(method), torch.optim.Adam(method.parameters())
        milliseconds = []
        for _ in range(ITERATIONS + 3):
            start = time.perf_counter()
            optimizer.zero_grad()
            total(terms(batch)).backward()
            optimizer.step()
            milliseconds.append(1000 * (time.perf_counter() - start))
        count = sum(p.numel() for p in method.parameters())
        print(f"{name:<24}{count:>12,}{statistics.median(milliseconds[3:]):8.1f}   {published}")


def main() -> int:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs after one to warm up (default: %(default)s)")
    parser.add_argument("--training", action="store_true", help="ShaSpec and SMIL on Audiovision-MNIST instead")
    args = parser.parse_args()
    if args.training:
        iteration_times(args.threads)
        return 0
    context = multiprocessing.get_context("spawn")
    table: dict[str, tuple[float, float]] = {}
    for name in WAYS:
        results = context.Queue()
        process = context.Process(target=measure, args=(name, args.threads, args.repeats, results))
        process.start()
        while process.is_alive() and results.empty():
            process.join(0.1)
        if results.empty():
            parser.error(f"{name}: the measurement ended with exit status {process.exitcode}, see above")
        table[name] = results.get()
        process.join()
    base_seconds, base_memory = next(iter(table.values()))
    print(f"{BOX} voxels, window {WINDOW}, {args.threads} threads, median of {args.repeats}")
    print(f"{'':<36}{'seconds':>9}{'ratio':>8}{'GiB':>8}{'ratio':>8}")
    for name, (seconds, memory) in table.items():
        print(f"{name:<36}{seconds:9.1f}{seconds / base_seconds:8.2f}{memory:8.2f}{memory / base_memory:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
