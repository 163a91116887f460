"""OpenI as training items: vocabulary, images, split, rates, and what a batch has of a modality that is missing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medmiss.cases import CaseError
from medmiss.classification import Report, read_reports
from medmiss.classification.openi_sets import (
    LENGTH,
    PADDING,
    START,
    UNKNOWN,
    PairedReports,
    Vocabulary,
    frontal,
    patient_split,
    read_images,
    read_views,
    report_sets,
)

SHARED = Path(__file__).parents[3] / "shared" / "data" / "openi"


def reports_of(count: int) -> list[Report]:
    """Each says its own number and whether there is a problem."""
    return [
        Report(number, f"None.\nword{number} {'opacity' if number % 3 else 'clear'}", number % 3 > 0, (f"CXR{number}",))
        for number in range(count)
    ]


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Images of reports 1 and 2; that of report 1 bright above, of 2 in colour and 16 x 8."""
    folder = tmp_path / "png"
    folder.mkdir()
    first = np.zeros((32, 32), dtype=np.uint8)
    first[:16] = 200
    Image.fromarray(first).save(folder / "CXR1_IM-0001-1001.png")
    Image.fromarray(np.full((32, 32), 77, dtype=np.uint8)).save(folder / "CXR1_IM-0001-2001.png")
    Image.fromarray(np.full((16, 8, 3), (30, 60, 90), dtype=np.uint8)).save(folder / "CXR2_IM-0001-1001.png")
    return folder


def test_words_become_tokens_and_rare_ones_are_unknown():
    vocabulary = Vocabulary.of(["The heart, the lungs.", "HEART is large", "the lungs"])
    assert vocabulary.words == ("the", "heart", "lungs")
    assert len(vocabulary) == 6
    first, empty = vocabulary.encode(["Lungs: the spine; HEART.", "\n"], 8).tolist()
    assert first == [START, 5, 3, UNKNOWN, 4, PADDING, PADDING, PADDING]
    assert empty == [START] + 7 * [PADDING]
    assert vocabulary.encode(["the " * 20], 8).tolist() == [[START] + 7 * [3]]


def test_the_vocabulary_is_of_the_training_part_alone():
    reports = [report._replace(text=f"{report.text} {report.text}") for report in reports_of(100)]
    sets, vocabulary = report_sets(reports, image_rate=0)
    parts = patient_split(100)
    own = {f"word{row}" for row in parts["train"]}
    assert {word for word in vocabulary.words if word.startswith("word")} == own
    rows = sets["test"].tokens[:, 2]
    assert (rows == UNKNOWN).all()


def test_the_split_is_by_patient_seeded_and_the_same_for_all_seeds():
    parts = patient_split(3851)
    assert [len(parts[name]) for name in ("train", "held_out", "test")] == [2773, 308, 770]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(3851))
    assert (patient_split(3851, 1)["test"] != parts["test"]).any()
    first, second = (report_sets(reports_of(60), image_rate=0, seed=seed).sets for seed in (0, 1))
    for name in first:
        assert torch.equal(first[name].label, second[name].label)
        assert torch.equal(first[name].tokens, second[name].tokens)


def test_rates_take_from_the_training_part_alone(image_folder):
    reports = reports_of(100)
    images = read_images([Report(1, "", False, ("CXR1_IM-0001-1001",))] * 100, image_folder, side=4)
    sets, vocabulary = report_sets(reports, images, image_rate=0.7, text_rate=0.5, seed=3)
    available = sets["train"].available
    assert available.any(dim=1).all()
    assert available.sum(dim=0).tolist() == [round(0.7 * 72), round(0.5 * 72)]
    assert sets["held_out"].available.all()
    assert sets["test"].available.all()
    assert len([word for word in vocabulary.words if word == "opacity"]) == 1
    other = report_sets(reports, images, 0.7, 0.5, seed=4).sets["train"].available
    assert other.shape != available.shape or not torch.equal(other, available)
    alone = report_sets(reports, images, image_rate=0.0).sets
    assert not any(part.available[:, 0].any() for part in alone.values())


def test_nothing_to_train_on_and_no_rate():
    with pytest.raises(ValueError, match="no sample is left"):
        report_sets(reports_of(50), image_rate=0.0, text_rate=0.0)
    with pytest.raises(ValueError, match="there are no images: give their folder, or a rate of 0"):
        report_sets(reports_of(50))
    with pytest.raises(ValueError, match=r"a rate is 1\.2"):
        report_sets(reports_of(50), image_rate=0, text_rate=1.2)


def test_a_batch_is_zero_where_something_is_missing():
    pixels = torch.full((3, 12, 12), 255, dtype=torch.uint8)
    tokens = torch.tensor([[1, 5, 0], [1, 6, 7], [1, 0, 0]], dtype=torch.int32)
    available = torch.tensor([[True, True], [False, True], [True, False]])
    samples = PairedReports(pixels, tokens, available, torch.tensor([0, 1, 1]))
    image = samples.whole()["image"]
    assert image.shape == (3, 2, 144)
    assert (image[0, 0] == 1).all()
    assert image[0, 1, :3].tolist() == [1, 5, 0]
    assert not image[1, 0].any()
    assert not image[2, 1].any()
    assert not image[:, 1, 3:].any()
    texts = samples.using(1)
    assert texts.label.tolist() == [0, 1]
    assert not texts.whole()["image"][:, 0].any()


def test_the_first_image_is_the_frontal_one_unless_views_know_better(tmp_path):
    report = Report(1, "", False, ("CXR1_IM-1-1", "CXR1_IM-1-2", "CXR1_IM-1-3"))
    assert frontal(report, {}) == "CXR1_IM-1-1"
    assert frontal(report, {"CXR1_IM-1-1": "LL"}) == "CXR1_IM-1-2"
    assert frontal(report, {"CXR1_IM-1-3": "AP"}) == "CXR1_IM-1-3"
    assert frontal(report, dict.fromkeys(report.images, "LATERAL")) is None
    file = tmp_path / "views.csv"
    file.write_text("imageid,View Position\nCXR1_IM-1-1,ll\nCXR1_IM-1-2,\n")
    assert read_views(file) == {"CXR1_IM-1-1": "LL"}
    file.write_text("a,b\n1,2\n")
    with pytest.raises(CaseError, match="other columns"):
        read_views(file)
    for content in (b"", b"imageid,View Position\n\xff,PA\n", b"a\n1,2\n1,2,3\n"):
        file.write_bytes(content)
        with pytest.raises(CaseError, match=r"something else .* a CSV file in UTF-8"):
            read_views(file)


def test_images_are_read_by_their_names(image_folder, caplog, report_xml, pack):
    reports = read_reports(pack({f"{number}.xml": report_xml(number) for number in (1, 2, 3)}))
    images = read_images(reports, image_folder, side=4)
    assert images.found.tolist() == [True, True, False]
    assert images.pixels.shape == (3, 4, 4)
    assert images.pixels[0, 0, 0] > 180
    assert images.pixels[0, 3, 0] < 20
    assert (images.pixels[1] == 60).all()
    assert not images.pixels[2].any()
    assert "1 of 3 reports have no frontal image" in caplog.text


def test_images_may_lie_in_a_folder_below(image_folder):
    report = Report(1, "", False, (next(image_folder.glob("*.png")).stem,))
    assert torch.equal(read_images([report], image_folder.parent).pixels, read_images([report], image_folder).pixels)


def test_a_folder_without_images_and_a_broken_one(image_folder, tmp_path):
    report = Report(1, "", False, ("CXR1_IM-0001-1001",))
    with pytest.raises(CaseError, match="no image of the reports"):
        read_images([report], tmp_path / "elsewhere")
    (image_folder / "CXR1_IM-0001-1001.png").write_bytes(b"no image")
    with pytest.raises(CaseError, match=r"case CXR1_IM-0001-1001, .* something else"):
        read_images([report], image_folder)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data at {SHARED}")
def test_the_real_reports_leak_nothing():
    reports = [report for report in read_reports(SHARED / "NLMCXR_reports.tgz") if report.images]
    assert len({report.patient for report in reports}) == 3851
    sets, vocabulary = report_sets(reports, image_rate=0)
    assert [len(sets[name]) for name in ("train", "held_out", "test")] == [2773, 308, 770]
    assert 0.58 < sets["test"].label.float().mean() < 0.66
    # A tag of an indexer, not a word of a report.
    assert "indexing" not in vocabulary.words
    assert 1000 < len(vocabulary) < 2000
    assert (sets["train"].tokens[:, LENGTH - 1] != PADDING).float().mean() < 0.005
    views = read_views(SHARED / "nlmcxr_dicom_metadata.csv.gz")
    first = [views[report.images[0]] for report in reports if report.images[0] in views]
    assert (len(first), sum(view in ("PA", "AP") for view in first)) == (2467, 2338)
    assert sum(frontal(report, views) is None for report in reports) == 39


def test_a_vocabulary_is_read_as_it_was_written(tmp_path):
    vocabulary = Vocabulary.of(["the heart is large", "the lungs", "the heart"], least=1)
    vocabulary.write(tmp_path / "words.txt")
    assert Vocabulary.read(tmp_path / "words.txt") == vocabulary
    texts = ["the large heart", "nothing known"]
    assert torch.equal(Vocabulary.read(tmp_path / "words.txt").encode(texts), vocabulary.encode(texts))
    vocabulary.write(tmp_path / "words.txt")  # a run that is resumed
    with pytest.raises(CaseError, match=r"words\.txt: found a file of an earlier run"):
        Vocabulary.of(["other words"], least=1).write(tmp_path / "words.txt")
    assert Vocabulary.read(tmp_path / "words.txt") == vocabulary
