"""Build the Audiovision-MNIST data set from its downloads, as SMIL (AAAI 2021) split it.

    python tools/prepare_avmnist.py --mnist DIR --fsdd DIR|TAR --out FILE [--mfcc full|smil]

DIR of --mnist has the four idx files of MNIST (.gz or unpacked), --fsdd the wavs of the Free Spoken Digit Dataset of
version 1.0.8 or a tar archive of them: 3 speakers, 50 recordings of each digit. FILE becomes an npz file of 1,050
training and 450 test pairs, and the MNIST test images that are not among the 450. The same input gives the same bytes.

--mfcc full (the default, and that of `medmiss classify avmnist`) reads the first 0.41 s of a sound (half of the
recordings are longer); smil keeps every third sample of all of it, as the published code does.
"""

import argparse
import sys
from pathlib import Path

from medmiss.cases import CaseError
from medmiss.classification import VARIANTS, build_avmnist, write_avmnist


def main() -> int:
    """Build and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, metavar="DIR", help="folder of the idx files")
    parser.add_argument("--fsdd", type=Path, required=True, metavar="DIR|TAR", help="folder or archive of the wavs")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="npz file to write")
    parser.add_argument("--mfcc", choices=VARIANTS, default=VARIANTS[0], help="see above (default: %(default)s)")
    args = parser.parse_args()
    try:
        arrays = build_avmnist(args.mnist, args.fsdd, args.mfcc)
        write_avmnist(args.out, arrays)
    except (CaseError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    numbers = ", ".join(f"{len(arrays[f'{part}_label'])} {part}" for part in ("train", "test", "more"))
    print(f"{args.out}: {numbers}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
