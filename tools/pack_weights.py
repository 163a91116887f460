"""Put the weights of a training run into a bundle, stored in 16 bits.

    python tools/pack_weights.py RUN BUNDLE

Reads RUN/models/model.pt, which `medmiss train` wrote, and writes BUNDLE/models/model.pt at half its size.
Loading brings them back to 32 bits.
"""

import argparse
import sys
from pathlib import Path

import running
from medmiss.networks.files import read_tensors, save_tensors


def main() -> int:
    """Convert and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=running.existing, help="output folder of medmiss train")
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    args = parser.parse_args()
    try:
        weights = read_tensors(args.run / "models" / "model.pt", remedy="give the output folder of a training")
    except ValueError as error:
        parser.error(str(error))
    # Contiguous: a stored tensor keeps its memory format, and channels last buys nothing on disk.
    halves = {name: tensor.half().contiguous() for name, tensor in weights.items()}
    save_tensors(halves, args.bundle / "models" / "model.pt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
