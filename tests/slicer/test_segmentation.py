"""What is written is what SimpleITK and slicerio read: voxels, places, names, colours, codes."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicerio

from medmiss.cases import CONVENTIONS, REGIONS, Grid, LabelConvention, write_volume
from medmiss.slicer.segmentation import label_segmentation, region_segmentation
from medmiss.slicer.tissues import label_tissues, region_tissues

BRATS2018 = CONVENTIONS["brats2018"]
LabelMap = Callable[[LabelConvention], np.ndarray]


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def places(image: sitk.Image) -> np.ndarray:
    """Where each voxel lies, mm in LPS: `(X, Y, Z, 3)`."""
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in np.ndindex(image.GetSize())]).reshape(
        *image.GetSize(), 3
    )


def test_every_voxel_lies_where_the_nifti_has_it(tmp_path: Path, grid: Grid, label_map: LabelMap):
    labels = label_map(BRATS2018)
    write_volume(tmp_path / "a.nii.gz", labels, grid)
    nifti = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    path = save(tmp_path / "a.seg.nrrd", label_segmentation(labels, grid, BRATS2018))

    image = sitk.ReadImage(str(path))
    assert image.GetSize() == nifti.GetSize() == grid.shape
    np.testing.assert_allclose(places(image), places(nifti), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(nifti))

    segmentation = slicerio.read_segmentation(str(path))
    np.testing.assert_array_equal(segmentation["voxels"], labels)
    np.testing.assert_allclose(segmentation["ijkToLPS"], np.diag([-1, -1, 1, 1]) @ grid.affine, rtol=0, atol=1e-12)


def test_the_regions_overlap_in_a_layer_each(tmp_path: Path, grid: Grid, label_map: LabelMap):
    labels = label_map(BRATS2018)
    path = save(tmp_path / "a.seg.nrrd", region_segmentation(labels, grid, BRATS2018))
    segmentation = slicerio.read_segmentation(str(path))
    assert [(s["id"], s["layer"], s["labelValue"]) for s in segmentation["segments"]] == [
        ("ET", 0, 1),
        ("TC", 1, 1),
        ("WT", 2, 1),
    ]
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == grid.shape and image.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_allclose(segmentation["ijkToLPS"], np.diag([-1, -1, 1, 1]) @ grid.affine, rtol=0, atol=1e-12)
    write_volume(tmp_path / "a.nii.gz", labels, grid)
    np.testing.assert_allclose(places(image), places(sitk.ReadImage(str(tmp_path / "a.nii.gz"))), rtol=0, atol=1e-4)
    for index, region in enumerate(BRATS2018.regions(labels)):
        np.testing.assert_array_equal(slicerio.segment_mask(segmentation, REGIONS[index]), region)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image)[..., index].T, region)


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS)
def test_each_value_has_its_segment(tmp_path: Path, lps: Grid, label_map: LabelMap, convention: LabelConvention):
    labels = label_map(convention)
    assert set(np.unique(labels)) == set(convention.values)
    path = save(tmp_path / "a.seg.nrrd", label_segmentation(labels, lps, convention))
    segmentation = slicerio.read_segmentation(str(path))
    segments = segmentation["segments"]
    assert [segment["labelValue"] for segment in segments] == list(convention.values[1:])
    for segment in segments:
        tissue = label_tissues(convention)[segment["labelValue"]]
        assert (segment["id"], segment["name"]) == (tissue.key, tissue.name)
        np.testing.assert_allclose(np.array(segment["color"]) * 255, tissue.rgb, atol=1e-3)
        assert segment["terminology"]["category"][:2] == ["SCT", "49755003"]
        assert segment["terminology"]["type"] == list(tissue.code)
        assert segment["terminology"]["anatomicRegion"] == ["SCT", "12738006", "Brain"]
        np.testing.assert_array_equal(slicerio.segment_mask(segmentation, segment), labels == segment["labelValue"])
    # The same through SimpleITK's dictionary, which is what Slicer itself reads.
    image = sitk.ReadImage(str(path))
    assert [image.GetMetaData(f"Segment{i}_Name") for i in range(len(segments))] == [s["name"] for s in segments]
    assert [image.GetMetaData(f"Segment{i}_LabelValue") for i in range(len(segments))] == [
        str(s["labelValue"]) for s in segments
    ]


def test_what_the_values_mean_by_year():
    def meaning(labels: str) -> dict[int, tuple[str, str]]:
        return {value: (tissue.key, tissue.code[1]) for value, tissue in label_tissues(CONVENTIONS[labels]).items()}

    edema, enhancing, core, necrosis = ("ED", "79654002"), ("ET", "C113842"), ("NCR", "C81175"), ("NCR", "6574001")
    assert meaning("brats2018") == {1: core, 2: edema, 4: enhancing}
    assert meaning("brats2023") == {1: necrosis, 2: edema, 3: enhancing}
    assert meaning("brats2024") == {1: core, 2: edema, 3: enhancing, 4: ("RC", "1162492000")}
    assert meaning("msd") == {1: edema, 2: core, 3: enhancing}
    assert meaning("brats2013") == {1: necrosis, 2: edema, 3: ("NET", "C81175"), 4: enhancing}
    assert [tissue.code[1] for tissue in region_tissues()] == ["C113842", "108369006", "52988006"]


def test_an_absent_tissue_keeps_its_segment_and_hides_no_other(tmp_path: Path, lps: Grid, label_map: LabelMap):
    labels = label_map(BRATS2018)
    labels[labels == 1] = 0  # the first segment
    path = save(tmp_path / "a.seg.nrrd", label_segmentation(labels, lps, BRATS2018))
    segmentation = slicerio.read_segmentation(str(path))
    assert [segment["id"] for segment in segmentation["segments"]] == ["NCR", "ED", "ET"]
    # Slicer shows of a layer what lies within the extent of the layer's first segment.
    x0, x1, y0, y1, z0, z1 = segmentation["segments"][0]["extent"]
    shown = np.zeros_like(labels)
    shown[x0 : x1 + 1, y0 : y1 + 1, z0 : z1 + 1] = labels[x0 : x1 + 1, y0 : y1 + 1, z0 : z1 + 1]
    np.testing.assert_array_equal(shown, labels)


def test_the_header_holds_what_it_must_and_nothing_else(lps: Grid, label_map: LabelMap):
    labels = label_map(BRATS2018)
    content = label_segmentation(labels, lps, BRATS2018)
    header = content.partition(b"\n\n")[0].decode("ascii").splitlines()
    assert header[0].startswith("NRRD000")
    assert "space: left-posterior-superior" in header
    assert "encoding: gzip" in header
    assert "space origin: (0,-239,0)" in header
    fields = {line.split(":")[0].partition("_")[0] for line in header[1:]}
    assert fields == {
        *("type", "dimension", "space", "sizes", "space directions", "kinds", "encoding", "space origin"),
        *("Segmentation", "Segment0", "Segment1", "Segment2"),
    }
    assert len(content) < labels.size + 5000


def test_the_same_input_gives_the_same_bytes_at_any_time(
    lps: Grid, label_map: LabelMap, monkeypatch: pytest.MonkeyPatch
):
    class Later(datetime):
        @classmethod
        def utcnow(cls):
            return cls(2001, 2, 3)

    labels = label_map(BRATS2018)
    now = [make(labels, lps, BRATS2018) for make in (label_segmentation, region_segmentation)]
    monkeypatch.setattr("nrrd.writer.datetime", Later)
    assert [make(labels, lps, BRATS2018) for make in (label_segmentation, region_segmentation)] == now
