"""Reading reports: labels, text fields, images, what is refused; the real archive where it is at hand."""

from pathlib import Path
from typing import Any

import pytest

from medmiss.cases import CaseError
from medmiss.classification import read_reports

DATA = Path(__file__).parents[3] / "shared" / "data" / "openi" / "NLMCXR_reports.tgz"


def test_a_report_is_read_as_distributed(pack, report_xml):
    files = {
        "10.xml": report_xml(10, comparison="None.", findings="Heart\n is large.", tags=["Cardiomegaly/mild", "Spine"]),
        "2.xml": report_xml(2, images=["CXR2_IM-0652-1001", "CXR2_IM-0652-2001-0002"]),
        "3.xml": report_xml(3, comparison="", findings="", images=[]),
    }
    second, third, tenth = read_reports(pack(files))
    assert (second.patient, third.patient, tenth.patient) == (2, 3, 10)
    assert tenth.text == "None.\nHeart\n is large."
    assert third.text == "\n"
    assert second.images == ("CXR2_IM-0652-1001", "CXR2_IM-0652-2001-0002")
    assert third.images == ()


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        (["normal"], False),
        (["No Indexing"], False),
        (["Technical Quality of Image Unsatisfactory "], False),
        (["Technical Quality of Image Unsatisfactory ", "Lung/hypoinflation"], True),
        (["Granulomatous Disease"], True),
    ],
)
def test_a_problem_is_a_major_tag_of_the_chest(pack, report_xml, tags: list[str], problem: bool):
    (report,) = read_reports(pack({"1.xml": report_xml(1, tags=tags)}))
    assert report.problem is problem


def test_what_gives_the_label_away_is_no_input(pack, report_xml):
    told: dict[str, Any] = {"comparison": "None", "findings": "Clear lungs."}
    (plain,) = read_reports(pack({"1.xml": report_xml(1, **told)}))
    others: dict[str, Any] = {"impression": "Severe cardiomegaly.", "indication": "Dyspnea", "tags": ["Cardiomegaly"]}
    (other,) = read_reports(pack({"1.xml": report_xml(1, **told, automatic=["cardiomegaly"], **others)}))
    assert other.problem
    assert other._replace(problem=False) == plain


def test_an_archive_gives_what_the_folder_gives_and_writes_nothing(pack, report_xml, tmp_path):
    archive = pack({f"../../{number}.xml": report_xml(number) for number in (1, 2)})
    folder = tmp_path / "unpacked" / "ecgen-radiology"
    folder.mkdir(parents=True)
    for number in (2, 1):
        (folder / f"{number}.xml").write_text(report_xml(number))
    before = sorted(tmp_path.rglob("*"))
    assert read_reports(archive) == read_reports(tmp_path / "unpacked")
    assert sorted(tmp_path.rglob("*")) == before


ENTITY = '<!DOCTYPE a [<!ENTITY b "c">]><eCitation>&b;</eCitation>'


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (ENTITY, "document type declaration"),
        ("<eCitation>", "broken file"),
        ("<eCitation/>", "no number"),
        ("<eCitation><uId id='CXR1'/><MeSH><automatic>edema</automatic></MeSH></eCitation>", "no major MeSH tag"),
    ],
)
def test_what_is_no_report_is_refused(pack, content: str, found: str):
    with pytest.raises(CaseError, match=found):
        read_reports(pack({"1.xml": content}))


def test_an_entity_is_not_expanded_in_another_encoding(pack):
    with pytest.raises(CaseError, match="document type declaration"):
        read_reports(pack({"1.xml": f'<?xml version="1.0" encoding="utf-16"?>{ENTITY}'.encode("utf-16")}))


def test_an_image_id_is_no_path(pack, report_xml):
    with pytest.raises(CaseError, match=r"CXR1_IM-1-1/\.\./x"):
        read_reports(pack({"1.xml": report_xml(1, images=["CXR1_IM-1-1/../x"])}))


def test_a_report_twice_none_or_a_broken_archive(pack, report_xml, tmp_path):
    with pytest.raises(CaseError, match="CXR1 twice"):
        read_reports(pack({"1.xml": report_xml(1), "2.xml": report_xml(1)}))
    with pytest.raises(CaseError, match="no report"):
        read_reports(pack({"1.txt": "text"}))
    with pytest.raises(CaseError, match="a file of"):
        read_reports(pack({"1.xml": b" " * (2**24 + 1)}))
    archive = pack({f"{number}.xml": report_xml(number) for number in range(1, 9)})
    archive.write_bytes(archive.read_bytes()[:-300])
    with pytest.raises(CaseError, match="broken file"):
        read_reports(archive)


@pytest.mark.skipif(not DATA.is_file(), reason=f"no real data at {DATA}")
def test_the_real_reports():
    reports = read_reports(DATA)
    shown = [report for report in reports if report.images]
    assert (len(reports), len(shown)) == (3955, 3851)
    assert sum(report.problem for report in shown) == 2374
    assert sum(not report.text.strip() for report in shown) == 243
    assert shown[0].text.startswith("None.\nThe cardiac silhouette")
