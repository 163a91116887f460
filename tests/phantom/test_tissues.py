from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medmiss.cases import CaseError
from medmiss.phantom import make_case, write_cases
from medmiss.phantom.brain import procedural_tissues
from medmiss.phantom.tissues import (
    CSF,
    GREY,
    STRONGEST_TEXTURE,
    TEXTURES,
    WHITE,
    anatomy_files,
    read_anatomy,
    read_tissues,
)

SHAPE = (48, 48, 32)
SRI24 = Path(__file__).parents[3] / "shared" / "data" / "sri24"


@pytest.fixture
def tissue_map(tmp_path: Path) -> Path:
    """A procedural brain stored in LAS order, as SRI24's is."""
    tissues = procedural_tissues((7,), SHAPE).numpy()
    path = tmp_path / "tissues.nii.gz"
    nib.save(nib.Nifti1Image(tissues[:, ::-1], np.diag([-1.0, 1, 1, 1])), path)
    return path


def test_a_tissue_map_is_read_in_lps_order(tissue_map: Path):
    expected = procedural_tissues((7,), SHAPE).numpy()
    assert np.array_equal(read_tissues(tissue_map, SHAPE).numpy(), expected)
    assert read_tissues(tissue_map, (40, 40, 30)).shape == (40, 40, 30)


def test_phantoms_are_made_of_the_map(tissue_map: Path, tmp_path: Path):
    made, other = make_case(1, 0, SHAPE, tissue_map), make_case(1, 0, SHAPE)
    assert made.labels.any()
    assert not np.array_equal(made.images, other.images)
    write_cases(tmp_path / "set", 1, tissues=tissue_map, seed=1, shape=SHAPE)
    with pytest.raises(CaseError, match="tissues"):
        write_cases(tmp_path / "set", 1, seed=1, shape=SHAPE)


@pytest.mark.parametrize("values", [(0, 1, 2, 3, 4), (1, 2, 3, 255), (0, 1, 2), (0, 1, 3, 5)])
def test_another_label_map_is_refused(tmp_path: Path, values: tuple[int, ...]):
    path = tmp_path / "labels.nii.gz"
    labels = np.resize(np.array(values, dtype=np.int16), (16, 16, 16))
    nib.save(nib.Nifti1Image(labels, np.eye(4)), path)
    with pytest.raises(CaseError, match="tissue map"):
        read_tissues(path, SHAPE)


@pytest.fixture
def atlas(tissue_map: Path) -> Path:
    """The folder of an atlas: levels of 100, 200 and 300 in CSF, grey and white matter, a tenth more on the left."""
    tissues = nib.load(tissue_map)
    values = np.array([0, 100, 200, 300], dtype=np.float32)[np.asarray(tissues.dataobj)]
    values[values.shape[0] // 2 :] *= 1.1
    for name in TEXTURES.values():
        nib.save(nib.Nifti1Image(values, tissues.affine), tissue_map.parent / f"{name}.nii.gz")
    return tissue_map.parent


def test_texture_is_what_an_image_has_above_its_tissue(atlas: Path):
    tissues, texture = read_anatomy(atlas, SHAPE)
    assert texture is not None and texture.shape == (len(TEXTURES), *SHAPE)
    assert not texture[:, tissues == 0].any()
    for tissue in (CSF, GREY, WHITE):
        values = texture[0][tissues == tissue].unique()
        assert len(values) == 2
        assert float((1 + values[1]) / (1 + values[0])) == pytest.approx(1.1, rel=1e-4)
        assert values.abs().min() < 0.06  # the median of a tissue is in one of the halves


def test_texture_is_bounded(atlas: Path):
    image = nib.load(atlas / f"{TEXTURES['t1']}.nii.gz")
    values = np.asarray(image.dataobj).copy()
    values[20:24, 20:24, 14:18] = 1e6
    nib.save(nib.Nifti1Image(values, image.affine), atlas / f"{TEXTURES['t1']}.nii.gz")
    _, texture = read_anatomy(atlas, SHAPE)
    assert texture is not None and float(texture.abs().max()) == STRONGEST_TEXTURE


def test_a_tissue_map_alone_has_no_texture(tissue_map: Path):
    assert read_anatomy(tissue_map, SHAPE)[1] is None


def test_an_atlas_changes_images_and_leaves_labels(atlas: Path):
    plain, textured = (make_case(1, 0, SHAPE, source) for source in (atlas / "tissues.nii.gz", atlas))
    assert np.array_equal(plain.labels, textured.labels)
    assert not np.array_equal(plain.images, textured.images)
    assert np.array_equal(plain.images > 0, textured.images > 0)
    assert np.array_equal(make_case(1, 0, SHAPE, atlas, without=["texture"]).images, plain.images)


def test_an_atlas_may_be_unpacked(atlas: Path):
    packed = read_anatomy(atlas, SHAPE)
    for file in atlas.glob("*.nii.gz"):
        nib.save(nib.load(file), file.with_suffix(""))
        file.unlink()
    read_anatomy.cache_clear()
    assert [file.suffix for file in anatomy_files(atlas)] == [".nii"] * 4
    for before, after in zip(packed, read_anatomy(atlas, SHAPE), strict=True):
        assert before is not None and after is not None and before.equal(after)


def test_an_incomplete_atlas_is_refused(atlas: Path, tmp_path: Path):
    (atlas / f"{TEXTURES['t2']}.nii.gz").unlink()
    with pytest.raises(CaseError, match=TEXTURES["t2"]):
        make_case(1, 0, SHAPE, atlas)
    with pytest.raises(CaseError, match=TEXTURES["t2"]):
        write_cases(tmp_path / "set", 1, tissues=atlas, seed=1, shape=SHAPE)


def test_an_atlas_whose_images_lie_elsewhere_is_refused(atlas: Path):
    image = nib.load(atlas / f"{TEXTURES['t2']}.nii.gz")
    affine = image.affine.copy()
    affine[0, 3] += 5
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), atlas / f"{TEXTURES['t2']}.nii.gz")
    with pytest.raises(CaseError, match=f"{TEXTURES['t2']}.*another grid than that of tissues"):
        read_anatomy(atlas, SHAPE)


@pytest.mark.skipif(not SRI24.is_dir(), reason="needs the SRI24 atlas in ../shared/data/sri24")
@pytest.mark.parametrize("source", [SRI24, SRI24 / "tissues.nii.gz"], ids=["atlas", "tissue map"])
def test_sri24(source: Path):
    case = make_case(1, 0, SHAPE, source)
    assert case.labels.any()
    millilitres = (case.images[0] > 0).sum() * 240 * 240 * 155 / 1000 / np.prod(SHAPE)
    assert 1000 < millilitres < 2100
