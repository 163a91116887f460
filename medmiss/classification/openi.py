"""The reports of OpenI, the Indiana University chest X-ray collection, as they are distributed.

A report is taken for one patient's: nothing in the collection says that a patient has two (the patient number in its
DICOM headers is the report's own).

What is a problem: the major MeSH tags of a report name its findings. A report has a problem when it has a major tag
other than those of `NO_PROBLEM`. The published count of 3,851 pairs leaves out no report that has an image, so that
the 92 of them that nobody indexed need a label as well; nearly all of these say that nothing is wrong.

What is the text: the fields COMPARISON and FINDINGS, as in the published experiment. IMPRESSION is the radiologist's
conclusion and the MeSH tags are the label: neither is kept, nor is INDICATION.
"""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from medmiss.cases import CaseError
from medmiss.classification.sources import members

TEXT_FIELDS = ("COMPARISON", "FINDINGS")
"""What the network reads, in this order."""
NO_PROBLEM = ("normal", "no indexing", "technical quality of image unsatisfactory")
"""Major tags, in lower case, that name no problem of the chest."""
IMAGE_NAME = re.compile(r"CXR\d+(_\d+)?_IM-\d+-\d+(-\d+)*")
"""What an image's id looks like; its file in the distribution is named so, with `.png`."""


class Report(NamedTuple):
    """What is used of a report.

    Attributes:
        patient: number, of the report and of its patient.
        text: COMPARISON and FINDINGS, a line each; empty lines where the report says nothing.
        problem: whether the report's tags name a problem.
        images: ids of its images, frontal and lateral, in the report's order.
    """

    patient: int
    text: str
    problem: bool
    images: tuple[str, ...]


def read_reports(source: Path) -> list[Report]:
    """All reports below a folder or in a tar archive (see `members`), by number.

    Args:
        source: `NLMCXR_reports.tgz`, or a folder with its XML files.

    Raises:
        CaseError: when there is none, one is broken or has no tags, or a number comes twice.
        OSError: when there is no such file.
    """
    reports: dict[int, Report] = {}
    for name, content in members(source, ".xml", "OpenI"):
        report = parse_report(name, content, source)
        if report.patient in reports:
            found = f"report CXR{report.patient} twice"
            raise CaseError("OpenI", found, "each report once", "leave one data set there", source)
        reports[report.patient] = report
    if not reports:
        expected = "XML reports such as those of NLMCXR_reports.tgz"
        raise CaseError("OpenI", "no report", expected, "give the archive or its folder", source)
    return [reports[number] for number in sorted(reports)]


def parse_report(name: str, content: bytes, source: Path) -> Report:
    """Read one report.

    Args:
        name: of the file, for errors.
        content: XML; a document type declaration is refused, so that no entity is ever expanded.
        source: where it is from, for errors.

    Raises:
        CaseError: when it is no such report.
    """
    expected, remedy = "a report as OpenI distributes it", "download the reports again"
    try:
        root = ET.fromstring(content, parser=ET.XMLParser(target=_Plain()))
    except (ET.ParseError, ValueError, LookupError) as error:
        raise CaseError(name, f"a broken file ({error})", expected, remedy, source) from error
    identity = re.fullmatch(r"CXR(\d+)", _attribute(root.find("uId"), "id"))
    tags = {(tag.text or "").strip().lower() for tag in root.findall("./MeSH/major")} - {""}
    if identity is None or not tags:
        found = "no number" if identity is None else "no major MeSH tag"
        raise CaseError(name, found, expected, remedy, source)
    fields = [
        " ".join((each.text or "").strip() for each in root.iter("AbstractText") if each.get("Label") == field)
        for field in TEXT_FIELDS
    ]
    images = tuple(_attribute(image, "id") for image in root.findall("parentImage"))
    for image in images:
        if IMAGE_NAME.fullmatch(image) is None:  # it becomes a file name
            raise CaseError(name, f"an image {image!r}", "an id such as CXR1_1_IM-0001-3001", remedy, source)
    return Report(int(identity[1]), "\n".join(fields), not tags <= set(NO_PROBLEM), images)


class _Plain(ET.TreeBuilder):
    """A tree of elements, of documents that declare no type of their own."""

    def doctype(self, name: str, public: Any, system: Any) -> NoReturn:
        raise ValueError("a document type declaration")


def _attribute(element: ET.Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "")
