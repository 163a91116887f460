"""MNIST, FSDD and OpenI's reports in small: the files as they are distributed, with few contents."""

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

SPEAKERS = ("ann", "bob", "cas")
RATE = 8000
INDICES = (0, 1, 15, 16, 17)
"""Of a speaker's recordings of a digit: two for testing, three for training."""


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 training images, unpacked, and 80 test images, packed; every digit equally often, in random order."""
    folder = tmp_path_factory.mktemp("mnist")
    generator = np.random.default_rng(0)
    for part, count in (("train", 120), ("t10k", 80)):
        labels = generator.permutation(np.arange(count) % 10).astype(np.uint8)
        images = generator.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
            content = header + array.tobytes()
            if part == "train":
                (folder / f"{part}-{kind}-ubyte").write_bytes(content)
            else:
                (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    return folder


@pytest.fixture(scope="session")
def fsdd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 recordings of a tenth to half a second of noise, in a subfolder as in the download."""
    folder = tmp_path_factory.mktemp("fsdd")
    (folder / "recordings").mkdir()
    generator = np.random.default_rng(1)
    for digit in range(10):
        for speaker in SPEAKERS:
            for index in INDICES:
                wave = generator.integers(-9000, 9000, generator.integers(RATE // 10, RATE // 2)).astype(np.int16)
                wavfile.write(folder / "recordings" / f"{digit}_{speaker}_{index}.wav", RATE, wave)
    return folder


@pytest.fixture
def archive(fsdd: Path, tmp_path: Path) -> Callable[..., Path]:
    """`archive(rename)`: the recordings as a tar.gz, their names changed by `rename`."""

    def make(rename: Callable[[str], str] = str) -> Path:
        file = tmp_path / "deep" / "down" / "fsdd.tar.gz"
        file.parent.mkdir(parents=True)
        with tarfile.open(file, "w:gz") as tar:
            for wav in sorted(fsdd.rglob("*.wav"), reverse=True):
                tar.add(wav, rename(wav.name))
        return file

    return make


REPORT = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">{comparison}</AbstractText>
<AbstractText Label="INDICATION">{indication}</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText>
<AbstractText Label="IMPRESSION">{impression}</AbstractText>
</Abstract></Article></MedlineCitation><MeSH>{mesh}</MeSH>{images}</eCitation>"""


@pytest.fixture(scope="session")
def report_xml() -> Callable[..., str]:
    """`report_xml(number, comparison=..., findings=..., tags=[...], images=[...])`: a report as distributed."""

    def write(
        number: int,
        comparison: str = "None.",
        findings: str = "The lungs are clear.",
        impression: str = "Normal chest.",
        indication: str = "Cough",
        tags: Sequence[str] = ("normal",),
        automatic: Sequence[str] = (),
        images: Sequence[str] | None = None,
    ) -> str:
        mesh = [f"<major>{tag}</major>" for tag in tags] + [f"<automatic>{tag}</automatic>" for tag in automatic]
        ids = [f"CXR{number}_IM-0001-1001", f"CXR{number}_IM-0001-2001"] if images is None else images
        shown = [f'<parentImage id="{name}"><caption>PA and lateral</caption></parentImage>' for name in ids]
        return REPORT.format(
            number=number,
            comparison=comparison,
            indication=indication,
            findings=findings,
            impression=impression,
            mesh="".join(mesh),
            images="".join(shown),
        )

    return write


@pytest.fixture
def pack(tmp_path: Path) -> Callable[[Mapping[str, str | bytes]], Path]:
    """`pack({"1.xml": content})`: an archive of these files."""

    def make(files: Mapping[str, str | bytes]) -> Path:
        file = tmp_path / f"reports{len(list(tmp_path.iterdir()))}.tgz"
        with tarfile.open(file, "w:gz") as archive:
            for name, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return file

    return make
