import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medmiss.cases import (
    Case,
    CaseError,
    Grid,
    ImageSource,
    find_cases,
    read_case,
    read_label,
    read_volume,
    write_volume,
)

BRATS = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
OBLIQUE = np.array([[-0.9, 0.3, 0.1, 3.3], [-0.31, -1.8, 0.2, 77.1], [0.05, 0.1, 4.9, -20], [0, 0, 0, 1]])


def case_of(**files) -> Case:
    return Case("p1", {modality: ImageSource(path) for modality, path in files.items()})


# Reading


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_nifti_is_read_as_float(tmp_path, save, brain, name):
    save(tmp_path / name.lower(), brain.astype(np.int16)).rename(tmp_path / name)
    volume = read_volume(ImageSource(tmp_path / name), "p1")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, brain.astype(np.int16))
    np.testing.assert_array_equal(volume.affine, BRATS)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_itk_formats_have_nifti_s_geometry(tmp_path, save, brain, suffix):
    orthogonal = np.array([[0, 0, 2.0, -3], [-1.5, 0, 0, 40], [0, 1, 0, 7], [0, 0, 0, 1]])
    nifti = save(tmp_path / "a.nii.gz", affine=orthogonal)
    sitk.WriteImage(sitk.ReadImage(str(nifti)), str(tmp_path / f"b{suffix}"))
    expected, volume = (read_volume(ImageSource(path), "p1") for path in (nifti, tmp_path / f"b{suffix}"))
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_allclose(volume.affine, orthogonal, atol=1e-6)


def test_a_fourth_axis_of_one_is_dropped(tmp_path, save, brain):
    volume = read_volume(ImageSource(save(tmp_path / "a.nii", brain[..., None])), "p1")
    np.testing.assert_array_equal(volume.array, brain)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.arange(4**4, dtype=np.float32).reshape(4, 4, 4, 4), "a 4-D image with 4 volumes"),
        (np.arange(16, dtype=np.float32).reshape(4, 4), r"an image of shape \(4, 4\)"),
        (np.arange(16, dtype=np.float32).reshape(4, 4, 1), r"an image of shape \(4, 4, 1\)"),
        (np.zeros((0, 4, 4), dtype=np.float32), "found an .*, but expected"),
        (np.full((4, 4, 4), 7, dtype=np.float32), "7 in every voxel"),
        (np.full((4, 4, 4), np.nan, dtype=np.float32), "64 NaN or infinite voxels of 64"),
        (np.append(np.arange(63, dtype=np.float32), np.nan).reshape(4, 4, 4), "1 NaN or infinite voxels of 64"),
        (np.append(np.arange(63, dtype=np.float32), -np.inf).reshape(4, 4, 4), "1 NaN or infinite voxels of 64"),
        (np.full((4, 4, 4), 1j, dtype=np.complex64), "voxels of type complex64"),
    ],
)
def test_unusable_volumes_are_named(tmp_path, save, array, found):
    path = save(tmp_path / "bad.nii.gz", array)
    with pytest.raises(CaseError, match=found) as caught:
        read_volume(ImageSource(path), "p1")
    assert "p1" in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("damage", ["empty", "text", "half", "missing"])
def test_damaged_files_are_named(tmp_path, brain, save, name, damage):
    path = tmp_path / name
    if ".nii" in name:
        save(path, np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32))
    else:
        noise = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(path))
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "text": b"hello, I am text", "half": content[: len(content) // 2]}[damage])
    with pytest.raises(CaseError, match="no file of this name" if damage == "missing" else "unreadable") as caught:
        read_volume(ImageSource(path), "p1")
    assert name in str(caught.value)


def test_a_header_without_volume_is_refused(tmp_path, save):
    path = save(tmp_path / "a.nii", affine=np.diag([1.0, 1, 1, 1]))
    header = bytearray(path.read_bytes())
    header[280:328] = bytes(48)  # srow_x, srow_y, srow_z of the sform
    path.write_bytes(bytes(header))
    with pytest.raises(CaseError, match="affine"):
        read_volume(ImageSource(path), "p1")


def test_an_absent_orientation_is_a_warning(tmp_path, brain):
    image = nib.Nifti1Image(brain, BRATS)
    image.set_sform(None)
    image.set_qform(None)
    nib.save(image, tmp_path / "a.nii")
    volumes = read_case(case_of(t1=tmp_path / "a.nii"))
    assert any("a.nii does not say how it is oriented" in warning for warning in volumes.warnings)


# 4-D files


def test_of_a_stacked_file_only_the_used_channels_count(tmp_path, save, brain):
    stack = np.stack([brain, 2 * brain, 3 * brain, 4 * brain], axis=-1)
    path = save(tmp_path / "imagesTr" / "c.nii", stack)
    (case,) = find_cases(path)
    np.testing.assert_array_equal(read_case(case).arrays["t1c"], 3 * brain)

    stack[..., 1] = np.nan
    save(path, stack)
    few = case.restricted_to(["flair", "t1c"])
    assert list(read_case(few).arrays) == ["flair", "t1c"]
    with pytest.raises(CaseError, match="NaN"):
        read_case(case)

    path.write_bytes(path.read_bytes()[: 352 + 3 * brain.nbytes])  # the last channel is cut off
    np.testing.assert_array_equal(read_case(few).arrays["t1c"], 3 * brain)
    with pytest.raises(CaseError, match="unreadable"):
        read_case(case.restricted_to(["t2"]))


def test_a_stacked_file_needs_its_channels(tmp_path, save, brain):
    with pytest.raises(CaseError, match="2 volumes in the file, but expected a 4-D file with channel 2"):
        read_volume(ImageSource(save(tmp_path / "two.nii", np.stack([brain, brain], axis=-1)), 2), "p1")
    with pytest.raises(CaseError, match="--flair"):
        read_volume(ImageSource(save(tmp_path / "one.nii"), 0), "p1")


# Cases


def test_a_case_takes_the_first_modality_s_grid(tmp_path, save, brain):
    moved = BRATS.copy()
    moved[0, 3] += 0.05
    case = case_of(t2=save(tmp_path / "b.nii", affine=moved), flair=save(tmp_path / "a.nii"))
    volumes = read_case(case)
    assert list(volumes.arrays) == ["flair", "t2"]
    np.testing.assert_array_equal(volumes.grid.affine, BRATS)
    assert volumes.warnings == []


def test_only_the_case_s_files_are_opened(tmp_path, save, touch):
    save(tmp_path / "x" / "flair.nii.gz")
    touch(tmp_path / "x", "t1.nii.gz", "t2.nii", "seg.nii.gz")
    (tmp_path / "x" / "t1c.nii.gz").symlink_to(tmp_path / "nowhere")
    (case,) = find_cases(tmp_path / "x")
    assert list(read_case(case.restricted_to(["flair"])).arrays) == ["flair"]
    with pytest.raises(CaseError, match=r"t1\.nii\.gz"):
        read_case(case)


def test_a_problem_found_earlier_is_raised_on_reading():
    problem = CaseError("p1", "two files", "one", "remove one")
    with pytest.raises(CaseError) as caught:
        read_case(Case("p1", {}, problem=problem))
    assert caught.value is problem


@pytest.mark.parametrize("what", ["shape", "affine"])
def test_a_mismatch_names_both_files(tmp_path, save, brain, what):
    array, affine = (brain[:-1], BRATS) if what == "shape" else (brain, BRATS + np.diag([0.05, 0, 0, 0]))
    case = case_of(flair=save(tmp_path / "one.nii"), t1=save(tmp_path / "two.nii", array, affine))
    with pytest.raises(CaseError, match="--resample") as caught:
        read_case(case)
    assert "one.nii has shape (24, 26, 22), LPS, 1 x 1 x 1 mm" in str(caught.value)
    assert "two.nii has shape" in str(caught.value)


def test_resampling_brings_a_volume_to_its_place(tmp_path, save, brain):
    """The same image with other axes, margin and background lands voxel on voxel."""
    other = np.full((30, 28, 26), -5, dtype=np.float32)
    other[2:24, 1:27, 1:25] = brain.transpose(2, 1, 0)[::-1]
    affine = np.zeros((4, 4))
    affine[:, 0], affine[:, 1], affine[:, 2] = -BRATS[:, 2], BRATS[:, 1], BRATS[:, 0]
    affine[:3, 3] = nib.affines.apply_affine(BRATS, (0, 0, 21)) - affine[:3, :3] @ (2, 1, 1)
    affine[3, 3] = 1
    case = case_of(t1=save(tmp_path / "a.nii"), t2=save(tmp_path / "b.nii", other, affine))
    volumes = read_case(case, resample=True)
    np.testing.assert_allclose(volumes.arrays["t2"], brain, atol=1e-3)
    assert volumes.warnings == ["T2 was resampled to the grid of T1"]


def test_resampling_fills_with_the_background(tmp_path, save, brain):
    affine = BRATS.copy()
    affine[2, 3] = 8  # the second image starts 8 mm higher
    case = case_of(t1=save(tmp_path / "a.nii"), t2=save(tmp_path / "b.nii", brain - 3, affine))
    resampled = read_case(case, resample=True).arrays["t2"]
    assert (resampled[..., :8] == -3).all()
    np.testing.assert_allclose(resampled[..., 8:], brain[..., :-8] - 3, atol=1e-3)


def test_labels_are_checked_against_their_year(tmp_path, save, brain):
    labels = np.zeros(brain.shape, dtype=np.uint8)
    path = save(tmp_path / "seg.nii", labels)
    images = {"t1": ImageSource(save(tmp_path / "t1.nii"))}
    case = Case("p1", images, ImageSource(path), convention="brats2023")
    assert not read_label(case).array.any()
    save(path, labels + np.uint8(4))
    with pytest.raises(CaseError, match=r"label values 4, but expected \(0, 1, 2, 3\) \(brats2023\)"):
        read_label(case)
    with pytest.raises(CaseError, match="no label file"):
        read_label(case_of(t1=path))


def test_a_label_on_another_grid_names_both_files(tmp_path, save, brain):
    label = save(tmp_path / "seg.nii", np.zeros((24, 26, 21), dtype=np.uint8))
    case = Case("p1", {"t1": ImageSource(save(tmp_path / "t1.nii"))}, ImageSource(label))
    with pytest.raises(CaseError, match=r"t1\.nii has shape .*seg\.nii has shape"):
        read_label(case, read_case(case).grid)


# Writing


@pytest.mark.parametrize("name", ["out/mask.nii.gz", "mask.nii"])
@pytest.mark.parametrize("affine", [BRATS, np.diag([1.0, 1, 1, 1]), OBLIQUE.astype(np.float32)])
def test_what_is_written_is_pure(tmp_path, name, affine):
    labels = np.random.default_rng(0).integers(0, 5, (6, 7, 8)).astype(np.uint8)
    write_volume(tmp_path / name, labels, Grid(labels.shape, affine))
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [(tmp_path / name).name]
    image = nib.load(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(image.dataobj), labels)
    assert np.asarray(image.dataobj).dtype == np.uint8
    np.testing.assert_array_equal(image.affine, affine)
    np.testing.assert_array_equal(image.get_sform(), affine)
    header = image.header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert (
        bytes(header["descrip"].tobytes() + header["aux_file"].tobytes() + header["intent_name"].tobytes()).strip(b"\0")
        == b""
    )
    assert len(header.extensions) == 0
    np.testing.assert_allclose(header.get_zooms(), nib.affines.voxel_sizes(affine), rtol=1e-6)
    if affine is not OBLIQUE:
        np.testing.assert_allclose(image.get_qform(), affine, atol=0.6)


def test_the_qform_of_brats_is_exact(tmp_path):
    write_volume(tmp_path / "a.nii.gz", np.zeros((4, 4, 4), dtype=np.uint8), Grid((4, 4, 4), BRATS))
    assert nib.load(tmp_path / "a.nii.gz").get_qform().tolist() == BRATS.tolist()


def test_the_same_input_gives_the_same_bytes(tmp_path, brain):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, brain, Grid(brain.shape, BRATS))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[344:348] == b"n+1\0"


def test_an_interrupted_write_leaves_the_old_file(tmp_path, brain, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_volume(path, brain, Grid(brain.shape, BRATS))
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_volume(path, brain + 1, Grid(brain.shape, BRATS))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_shape_or_name_is_refused(tmp_path, brain):
    with pytest.raises(ValueError, match=r"\(24, 26, 22\)"):
        write_volume(tmp_path / "a.nii", brain[1:], Grid(brain.shape, BRATS))
    with pytest.raises(ValueError, match=r"\.nii\.gz"):
        write_volume(tmp_path / "a.mha", brain, Grid(brain.shape, BRATS))


@pytest.mark.parametrize(
    ("flipped", "codes", "doubt"), [(True, (2, 1), True), (False, (2, 1), False), (True, (2, 0), False)]
)
def test_two_orientations_in_one_header_are_a_warning(tmp_path, brain, flipped, codes, doubt):
    image = nib.Nifti1Image(brain, BRATS)
    other = BRATS @ np.diag([-1.0 if flipped else 1.0, 1, 1, 1])
    other[0, 3] = 23.0 if flipped else BRATS[0, 3]
    image.set_sform(other, code=codes[0])
    image.set_qform(BRATS, code=codes[1])
    nib.save(image, tmp_path / "a.nii")
    volumes = read_case(case_of(t1=tmp_path / "a.nii"))
    np.testing.assert_array_equal(volumes.grid.affine, other)
    said = [warning for warning in volumes.warnings if warning.startswith("a.nii says in two ways where it lies")]
    assert len(said) == doubt
    assert all("its sform (RPS) is taken" in warning and "the qform (LPS)" in warning for warning in said)


def test_a_header_that_claims_more_than_memory_holds_is_an_unreadable_file(tmp_path, save):
    path = save(tmp_path / "a.nii.gz")
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[42:48] = np.array([32000] * 3, dtype="<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(header)))
    with pytest.raises(CaseError, match="an unreadable file"):
        read_volume(ImageSource(path), "p1")
