"""What each challenge demands of a submission: one table, read to build archives and to check them.

Sources: the organisers' public validators (github.com/Sage-Bionetworks-Challenges: `brats-dream-challenge-infra`
for 2021 and 2022, `brats2023` for 2023 and 2024), and the data descriptions of 2018 to 2020. The portal of 2018 to
2020 is closed source: its rules here are one mask a case, named by the case, on the grid of the data.
"""

import re
from dataclasses import dataclass

import numpy as np

SUFFIX = ".nii.gz"

_SRI24 = ((-1.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.0, 239.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
_MNI = ((-1.0, 0.0, 0.0, 90.0), (0.0, 1.0, 0.0, -126.0), (0.0, 0.0, 1.0, -72.0), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Challenge:
    """The rules of one challenge.

    Args:
        name: key in `CHALLENGES`.
        convention: key in `medmiss.cases.CONVENTIONS` of the label values.
        id_pattern: regular expression for a mask's name without suffix, searched at its end; group 1 is the case's id.
        usual_pattern: the whole name as the data has it; another one with a good id is accepted by the organisers.
        example: a mask's name.
        shape: voxels of a mask.
        placement: affine of the data, `(4, 4)`, voxel index to mm in RAS+ world coordinates.
        exact_qform: whether the organisers refuse a mask whose qform is not `placement`, bit for bit.
        archives: forms that are taken, of `"zip"` and `"tar"`.
        cases: number of cases in the validation set, None where no public source was found.
    """

    name: str
    convention: str
    id_pattern: str
    usual_pattern: str
    example: str
    shape: tuple[int, int, int]
    placement: tuple[tuple[float, ...], ...]
    exact_qform: bool
    archives: tuple[str, ...]
    cases: int | None = None

    @property
    def affine(self) -> np.ndarray:
        """`placement` as an array, `(4, 4)`."""
        return np.array(self.placement)

    def case_id(self, name: str) -> str | None:
        """The id in the name of a case, or of a mask without its suffix; None where there is none."""
        match = re.search(rf"{self.id_pattern}\Z", name, re.ASCII)
        return match.group(1) if match else None

    def is_usual(self, name: str) -> bool:
        """Whether a mask's name without suffix is one that the data has."""
        return re.fullmatch(self.usual_pattern, name, re.ASCII) is not None


def _portal(year: int, prefix: str, rest: str, example: str, cases: int) -> Challenge:
    """A challenge of 2018 to 2020: the id is the whole name, which does not end as a label file's."""
    pattern = rf"{prefix}_{rest}(?<!_seg)"
    return Challenge(
        name=f"brats{year}",
        convention="brats2018",
        id_pattern=rf"\A({pattern})",
        usual_pattern=pattern,
        example=example,
        shape=(240, 240, 155),
        placement=_SRI24,
        exact_qform=False,
        archives=("zip",),
        cases=cases,
    )


CHALLENGES: dict[str, Challenge] = {
    challenge.name: challenge
    for challenge in (
        _portal(2018, "Brats18", r"\w+", "Brats18_CBICA_AAM_1.nii.gz", cases=66),
        _portal(2019, "BraTS19", r"\w+", "BraTS19_CBICA_AAM_1.nii.gz", cases=125),
        _portal(2020, "BraTS20", r"[A-Za-z]+_\d{3}", "BraTS20_Validation_001.nii.gz", cases=125),
        Challenge(
            name="brats2021",
            convention="brats2021",
            id_pattern=r"(\d{5})",
            usual_pattern=r"BraTS2021_\d{5}",
            example="BraTS2021_00001.nii.gz",
            shape=(240, 240, 155),
            placement=_SRI24,
            exact_qform=False,
            archives=("zip", "tar"),
            cases=219,
        ),
        Challenge(
            name="brats2023-gli",
            convention="brats2023",
            id_pattern=r"(\d{5}-\d{3})",
            usual_pattern=r"BraTS-GLI-\d{5}-0\d\d",
            example="BraTS-GLI-00001-000.nii.gz",
            shape=(240, 240, 155),
            placement=_SRI24,
            exact_qform=True,
            archives=("zip", "tar"),
        ),
        # The validator of 2024 demanded this placement for a time, then the shape alone. Time points of the
        # post-treatment cases count from 100.
        Challenge(
            name="brats2024-gli",
            convention="brats2024",
            id_pattern=r"(\d{5}-\d{3})",
            usual_pattern=r"BraTS-GLI-\d{5}-1\d\d",
            example="BraTS-GLI-00001-100.nii.gz",
            shape=(182, 218, 182),
            placement=_MNI,
            exact_qform=False,
            archives=("zip", "tar"),
        ),
    )
}
"""Challenges by name, in order of the years."""
