import pickle
from pathlib import Path

import pytest

from medmiss.cases import LAYOUTS, Case, CaseError, ImageSource, case_from_files, find_cases, read_case

ALL = ("flair", "t1", "t1c", "t2")
UNDERSCORE = ("flair", "t1", "t1ce", "t2", "seg")
DASH = ("t2f", "t1n", "t1c", "t2w", "seg")


@pytest.mark.parametrize(
    ("folder", "names", "layout", "convention"),
    [
        ("Brats18_2013_2_1", [f"Brats18_2013_2_1_{word}.nii.gz" for word in UNDERSCORE], "brats2018", "brats2018"),
        ("BraTS19_CBICA_1", [f"BraTS19_CBICA_1_{word}.nii" for word in UNDERSCORE], "brats2018", "brats2018"),
        ("renamed", [f"BraTS20_Training_001_{word}.nii.gz" for word in UNDERSCORE], "brats2018", "brats2018"),
        ("BraTS2021_00001", [f"BraTS2021_00001_{word}.nii.gz" for word in UNDERSCORE], "brats2021", "brats2021"),
        ("BraTS-GLI-00000-000", [f"BraTS-GLI-00000-000-{w}.nii.gz" for w in DASH], "brats2023", "brats2023"),
        ("renamed", [f"BraTS-MET-00110-000-{word}.nii.gz" for word in DASH], "brats2023", "brats2023"),
        ("BraTS-GLI-02062-101", [f"BraTS-GLI-02062-101-{w}.nii.gz" for w in DASH], "brats2024", "brats2024"),
        ("brats_2013_pat0004", [f"{word}.nii.gz" for word in (*ALL, "seg")], "brats2013", "brats2013"),
        ("anything", [f"{word}.nii.gz" for word in (*ALL, "seg")], "plain", "brats2018"),
        ("anything", ["FLAIR.mha", "T1W.nrrd", "T1_Gd.nii", "x T2.nii.gz", "my_label.nii"], "plain", "brats2018"),
        ("anything", ["a-T2-FLAIR.nii", "a-T1.nii", "a-t1-ce.nii", "a-T2.nii", "a-seg.nii"], "plain", "brats2018"),
    ],
)
def test_layouts_are_told_by_their_names(tmp_path, touch, folder, names, layout, convention):
    touch(tmp_path / folder, *names)
    (case,) = find_cases(tmp_path / folder)
    assert (case.name, case.layout, case.convention) == (folder, layout, convention)
    assert case.available == ALL
    sources = [*case.images.values(), *([case.label] if case.label else [])]
    assert sorted(source.path.name for source in sources) == sorted(names)
    assert find_cases(tmp_path) == [case]


def test_each_modality_gets_its_own_file(tmp_path, touch):
    touch(tmp_path / "c", "c_T2-FLAIR.nii", "c_T1.nii", "c_T1ce.nii", "c_T2.nii")
    (case,) = find_cases(tmp_path / "c")
    names = {modality: source.path.name for modality, source in case.images.items()}
    assert names == {"flair": "c_T2-FLAIR.nii", "t1": "c_T1.nii", "t1c": "c_T1ce.nii", "t2": "c_T2.nii"}


def test_absent_files_are_normal(tmp_path, touch):
    touch(tmp_path / "x", "x_flair.nii.gz", "x_t2.nii.gz")
    (case,) = find_cases(tmp_path / "x")
    assert case.available == ("flair", "t2")
    assert case.label is None


@pytest.mark.parametrize("left", ["t2f", "t1n", "t1c", "t2w"])
def test_the_layout_does_not_depend_on_which_files_are_left(tmp_path, touch, left):
    touch(tmp_path / "BraTS-GLI-00001-000", f"BraTS-GLI-00001-000-{left}.nii.gz")
    touch(tmp_path / "plain", f"somebody-{left}.nii.gz")
    brats, plain = find_cases(tmp_path)
    assert (brats.convention, plain.convention) == ("brats2023", "brats2018")


def test_masks_and_predictions_are_no_images(tmp_path, touch):
    names = ["brainmask.nii.gz", "seg_model_t1.nii.gz", "flair_mask.nii.gz", "t1_pred.nii.gz", "notes_t2.txt"]
    touch(tmp_path / "x", "flair.nii.gz", "._t1.nii.gz", *names)
    (case,) = find_cases(tmp_path / "x")
    assert case.available == ("flair",)
    assert case.label is None


def test_of_several_label_files_none_is_used(tmp_path, touch, caplog):
    touch(tmp_path / "x", "flair.nii.gz", "flair_seg.nii.gz", "t1_seg.nii.gz")
    (case,) = find_cases(tmp_path / "x")
    assert case.label is None
    assert "flair_seg.nii.gz, t1_seg.nii.gz" in caplog.text


@pytest.mark.parametrize("pair", [("x_t1.nii", "x_t1.nii.gz"), ("x_t1ce.nii", "t1c.mha"), ("t1.nii", "t1w.nii")])
def test_two_files_for_a_modality_are_ambiguous(tmp_path, touch, pair):
    touch(tmp_path / "x", "flair.nii.gz", *pair)
    with pytest.raises(CaseError, match="two files") as caught:
        find_cases(tmp_path / "x")
    assert all(name in str(caught.value) for name in pair)


def test_a_name_of_two_modalities_is_refused(tmp_path, touch):
    touch(tmp_path / "x", "flair_to_t1.nii.gz")
    with pytest.raises(CaseError, match="FLAIR and T1"):
        find_cases(tmp_path / "x")


@pytest.mark.parametrize("names", [(), ("readme.txt",), ("scan1.nii.gz",), ("seg.nii.gz",)])
def test_a_folder_with_no_image_is_an_error(tmp_path, touch, names):
    (tmp_path / "x").mkdir()
    touch(tmp_path / "x", *names)
    with pytest.raises(CaseError, match=r"case x, folder .*flair\.nii\.gz"):
        find_cases(tmp_path / "x")


def test_a_place_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(CaseError, match="found no file or folder of this name, but expected a case; check the path"):
        find_cases(tmp_path / "nowhere")


def test_in_a_folder_one_bad_case_does_not_stop_the_rest(tmp_path, touch):
    touch(tmp_path / "HGG" / "b", "b_flair.nii", "b_flair.nii.gz")
    touch(tmp_path / "LGG" / "a", "a_flair.nii")
    touch(tmp_path / "c", "scan.nii")
    (tmp_path / "empty").mkdir()
    good, ambiguous, unnamed = find_cases(str(tmp_path))
    assert (good.name, good.available, good.problem) == ("a", ("flair",), None)
    assert "two files for FLAIR" in str(ambiguous.problem)
    assert "scan.nii" in str(unnamed.problem)
    assert ambiguous.restricted_to(["t2"]) is ambiguous


def test_two_cases_of_one_name_would_share_an_output(tmp_path, touch):
    touch(tmp_path / "HGG" / "a", "flair.nii")
    touch(tmp_path / "LGG" / "a", "flair.nii")
    with pytest.raises(CaseError, match="two cases of this name"):
        find_cases(tmp_path)


def test_the_decathlon_stacks_modalities(tmp_path, touch):
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "imagesTr/._BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz")
    touch(tmp_path, "imagesTs/BRATS_485.nii.gz", "dataset.json")
    train, test = find_cases(tmp_path)
    assert (train.name, train.layout, train.convention) == ("BRATS_001", "msd", "msd")
    assert [train.images[modality].channel for modality in ALL] == [0, 1, 2, 3]
    assert train.label == ImageSource(tmp_path / "labelsTr" / "BRATS_001.nii.gz")
    assert (test.name, test.label) == ("BRATS_485", None)
    assert find_cases(tmp_path / "imagesTr") == [train]
    assert find_cases(tmp_path / "imagesTr" / "BRATS_001.nii.gz") == [train]


def test_paths_are_absolute_whatever_the_user_typed(tmp_path, touch, monkeypatch):
    touch(tmp_path / "case7" / "inner", "x.txt")
    touch(tmp_path / "case7", "flair.nii")
    for start, typed in (("case7", "."), ("case7/inner", ".."), (".", "case7/")):
        monkeypatch.chdir(tmp_path / start)
        (case,) = find_cases(typed)
        assert case.name == "case7"
        assert case.images["flair"].path == tmp_path / "case7" / "flair.nii"


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_a_layout_writes_is_found_again(tmp_path, touch, layout):
    name = layout.case_name(3)
    paths = {layout.image_path(tmp_path, name, modality) for modality in ALL}
    touch(tmp_path, *paths, layout.label_path(tmp_path, name))
    (case,) = find_cases(tmp_path)
    assert (case.name, case.layout, case.convention, case.available) == (name, layout.name, layout.convention, ALL)
    for modality in ALL:
        assert case.images[modality].path == layout.image_path(tmp_path, name, modality)
    assert case.label == ImageSource(layout.label_path(tmp_path, name))


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"t2": "b.nii.gz", "flair": "a.nii.gz"}, "a"),
        ({"t1ce": "p7_t1ce.nii.gz"}, "p7"),
        ({"t1n": "BraTS-GLI-00001-000-t1n.nii.gz"}, "BraTS-GLI-00001-000"),
        ({"t2": "folder/t2.nii.gz"}, "folder"),
    ],
)
def test_explicit_files_name_their_case(tmp_path, touch, files, name):
    touch(tmp_path, *files.values())
    case = case_from_files({modality: tmp_path / file for modality, file in files.items()})
    assert (case.name, case.layout, case.convention) == (name, "files", "brats2018")
    assert list(case.images) == list(case.available)


def test_explicit_files_are_checked(tmp_path, touch):
    touch(tmp_path, "a.nii", "b.nii")
    with pytest.raises(CaseError, match=r"two files for T1c: a\.nii and b\.nii"):
        case_from_files({"t1c": tmp_path / "a.nii", "t1ce": tmp_path / "b.nii"})
    with pytest.raises(CaseError, match=r"^case a, file .*c\.nii: found no file of this name, but expected an image"):
        case_from_files({"flair": tmp_path / "c.nii", "t1c": tmp_path / "a.nii"})
    with pytest.raises(CaseError, match=r"^case \(unnamed\), "):
        case_from_files({"t1c": tmp_path / "c.nii"})
    with pytest.raises(CaseError, match="--flair"):
        case_from_files({})
    with pytest.raises(ValueError, match="pet"):
        case_from_files({"pet": tmp_path / "a.nii"})


def test_restriction_removes_files():
    case = Case("c", {modality: ImageSource(Path(f"{modality}.nii")) for modality in ("t2", "flair", "t1")})
    assert case.available == ("flair", "t1", "t2")
    few = case.restricted_to(["T1CE", "T2"])
    assert few.images == {"t2": ImageSource(Path("t2.nii"))}
    assert pickle.loads(pickle.dumps(few)) == few
    with pytest.raises(CaseError, match=r"only FLAIR\+T1\+T2, but expected at least one of T1c"):
        case.restricted_to(["t1c"])


def test_masks_written_among_the_cases_are_no_case(tmp_path):
    for folder, name in (("A", "A_flair.nii.gz"), ("masks", "A.nii.gz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    (tmp_path / "masks" / ".medmiss").mkdir()
    assert [case.name for case in find_cases(tmp_path)] == ["A"]
    with pytest.raises(CaseError, match="no images"):
        find_cases(tmp_path / "masks")


def test_a_segmentation_of_slicer_is_no_experts_label(tmp_path, touch):
    touch(tmp_path / "P1", "flair.nii.gz", "P1.seg.nrrd")
    (case,) = find_cases(tmp_path / "P1")
    assert case.available == ("flair",) and case.label is None
    touch(tmp_path / "P1", "P1_seg.nii.gz")
    (case,) = find_cases(tmp_path / "P1")
    assert case.label is not None and case.label.path.name == "P1_seg.nii.gz"


def test_a_link_to_a_file_that_is_not_there_is_no_absent_modality(tmp_path, touch):
    touch(tmp_path / "p1", "p1_t1.nii.gz")
    (tmp_path / "p1" / "p1_flair.nii.gz").symlink_to(tmp_path / "annex" / "not-fetched")
    (case,) = find_cases(tmp_path / "p1")
    assert case.available == ("flair", "t1")
    with pytest.raises(CaseError, match=r"p1_flair\.nii\.gz: found a link to a file that is not there"):
        read_case(case)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("p1/flair.nii.gz", "p1"),
        ("p1/deeper/../flair.nii.gz", "p1"),
        ("p1/sub-01_T2-FLAIR.nii.gz", "sub-01"),
        ("p1/sub-01-T1.nii.gz", "sub-01"),
        ("p1/a_FLAIR_brain.nii.gz", "a_FLAIR_brain"),
    ],
)
def test_the_name_of_a_case_of_single_files(tmp_path, touch, file, name):
    (tmp_path / "p1" / "deeper").mkdir(parents=True)
    touch(tmp_path, file)
    assert case_from_files({"flair": tmp_path / file}).name == name
