"""A small challenge, its cases, and good masks of them."""

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medmiss.cases import LAYOUTS, Case, Grid, find_cases, write_case
from medmiss.submission import CHALLENGES, Challenge


class Kit:
    """What tests make submissions of."""

    shape = (24, 22, 20)
    a, b = "BraTS-GLI-00001-000", "BraTS-GLI-00002-000"
    affine = CHALLENGES["brats2023-gli"].affine

    def challenge(self, name: str) -> Challenge:
        """A challenge on the small grid; its validation set has two cases."""
        return replace(CHALLENGES[name], shape=self.shape, cases=2)

    def tumour(self, shift: int = 0, values: tuple[int, int, int] = (1, 2, 3)) -> np.ndarray:
        """`(X, Y, Z)` uint8: oedema, in it enhancing tumour and necrosis; `values` are NCR, ED, ET."""
        labels = np.zeros(self.shape, dtype=np.uint8)
        ncr, ed, et = values
        labels[8 + shift : 15 + shift, 8:14, 8:13] = ed
        labels[10 + shift : 13 + shift, 10:12, 9:12] = et
        labels[11 + shift, 10, 10] = ncr
        return labels

    def image(self, array: np.ndarray | None = None, affine: np.ndarray | None = None) -> nib.Nifti1Image:
        """An image with qform and sform alike; by default a tumour where the data of 2018 to 2023 lie."""
        affine = self.affine if affine is None else affine
        image = nib.Nifti1Image(self.tumour() if array is None else array, affine)
        image.set_qform(affine, code=1)
        image.set_sform(affine, code=1)
        return image

    def packed(self, image: nib.Nifti1Image) -> bytes:
        """The bytes of a `.nii.gz` file."""
        return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)

    def files(self, *names: str, values: tuple[int, int, int] = (1, 2, 3)) -> dict[str, bytes]:
        """A good submission for these cases: file name to bytes."""
        return {
            f"{name}.nii.gz": self.packed(self.image(self.tumour(index, values))) for index, name in enumerate(names)
        }

    def cases(self, root: Path, *names: str, layout: str = "brats2023") -> list[Case]:
        """Cases of these names on the small grid: FLAIR alone, an ellipsoid of a brain."""
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in self.shape), indexing="ij")
        noise = np.random.default_rng(0).standard_normal(self.shape)
        brain = ((100 + noise) * (x**2 + y**2 + z**2 < 0.8)).astype(np.float32)
        for name in names:
            write_case(root, LAYOUTS[layout], name, {"flair": brain}, Grid(self.shape, self.affine), label=None)
        return find_cases(root)


@pytest.fixture
def kit() -> Kit:
    return Kit()
