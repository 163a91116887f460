"""The HTML of a report by subset: one page with its pictures in it, which loads nothing."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from medmiss.cases import REGIONS
from medmiss.evaluation.published import SOURCES
from medmiss.evaluation.statistics import by_subset
from medmiss.evaluation.subset_tables import (
    CIRCLES,
    FINAL,
    HD95,
    PUBLISHED_NOTE,
    RAW,
    TEST_NOTE,
    THIS_RUN,
    Results,
    columns_of,
    number,
    p_value,
    percent,
)
from medmiss.modalities import DISPLAY_NAMES, MODALITIES, subset_name

RESEARCH_ONLY = "Research use only: not for clinical decisions."
GROUPS = {RAW: "Dice raw, %", FINAL: "Dice post-processed, %", HD95: "HD95 post-processed, mm"}
KINDS = {"measured": "this run", "compared": "other runs", "published": "published, BraTS 2018, other cases"}
STYLES = {"measured": "ours", "compared": "", "published": "published"}
STEP = ' class="step"'
MODALITY_HEAD = [f'<th class="mark">{DISPLAY_NAMES[modality]}</th>' for modality in MODALITIES]


@dataclass(frozen=True)
class Page:
    """What a report is made of.

    Args:
        title: of the page.
        results: what was measured.
        record: what made the masks, as `settings.json` has it.
        facts: what was measured and with what, in words.
        failures: what could not be measured, a sentence each.
        figures: heading and caption to the PNG below them.
        other_records: name of another run to its record.
    """

    title: str
    results: Results
    record: Mapping[str, Any]
    facts: Mapping[str, str]
    failures: Sequence[str]
    figures: Sequence[tuple[str, str, Path]]
    other_records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def html_page(page: Page) -> str:
    """The whole page."""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in page.facts.items())
    parts = [
        f"<h1>{escape(page.title)}</h1>",
        '<p class="lead">Segmentation of brain tumours from every subset of FLAIR, T1, T1c and T2: one network, each '
        "subset given to it as if the other modalities did not exist.</p>",
        f'<p class="research">{escape(RESEARCH_ONLY)}</p>',
        f"<dl>{facts}</dl>",
        f'<p class="caution">{escape(page.results.caution())}</p>',
        *_failures(page.failures),
        "<h2>Results by subset</h2>",
        _main_table(page.results),
        '<p class="note">● the network was given this modality, ○ it was not. ET enhancing tumour, TC tumour core, WT '
        "whole tumour. Mean over cases, ± standard deviation over cases where there are more than one; the last row is "
        "the mean of the rows above. Raw and post-processed come from one run of the network.</p>",
    ]
    for heading, caption, path in page.figures:
        parts += [f"<h2>{escape(heading)}</h2>", _figure(heading, caption, path)]
    parts += _comparison(page)
    parts += ["<h2>Beside published figures</h2>", f'<p class="caution">{escape(PUBLISHED_NOTE)}</p>']
    parts += [_beside(page.results, region) for region in REGIONS]
    sources = "".join(f"<li>{escape(method)}: {escape(source)}.</li>" for method, source in SOURCES.items())
    parts += [f'<ul class="note">{sources}</ul>', "<h2>Cases</h2>", _cases(page)]
    parts.append(f"<footer>{escape(RESEARCH_ONLY)} {escape(page.facts['made with'])}.</footer>")
    template = files("medmiss.evaluation").joinpath("report_template.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=escape(page.title), body="\n".join(parts))


def _failures(failures: Sequence[str]) -> list[str]:
    if not failures:
        return []
    lines = "".join(f"<li>{escape(reason)}</li>" for reason in failures)
    return [f'<div class="failed"><p>Not measured:</p><ul>{lines}</ul></div>']


def _table(groups: str, head: Iterable[str], body: Iterable[str], foot: str = "", style: str = "") -> str:
    rows = f'<tr class="groups">{groups}</tr>' if groups else ""
    return (
        f'<div class="scroll"><table class="{style}"><thead>{rows}<tr>{"".join(head)}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody>{f'<tfoot><tr>{foot}</tr></tfoot>' if foot else ''}</table></div>"
    )


def _marks(subset: str) -> str:
    return "".join(f'<td class="mark">{mark}</td>' for mark in CIRCLES[subset])


def _row(subset: str, previous: str | None, cells: str) -> str:
    """A row of a table by subset; a line above where the number of modalities grows."""
    grows = previous is not None and CIRCLES[previous].count("●") != CIRCLES[subset].count("●")
    return f"<tr{STEP if grows else ''}>{_marks(subset)}{cells}</tr>"


def _rows(cells: Mapping[str, str]) -> list[str]:
    names = list(cells)
    return [_row(name, before, cells[name]) for name, before in zip(names, [None, *names], strict=False)]


def _main_table(results: Results) -> str:
    means, deviations, cases = results.means, results.deviations, results.cases
    keys = [(measure, region) for measure in GROUPS for region in REGIONS]
    groups = '<th colspan="5"></th>' + "".join(f'<th colspan="3" class="first">{text}</th>' for text in GROUPS.values())
    head = [*MODALITY_HEAD, "<th>cases</th>", *(f"<th{_first(region)}>{region}</th>" for _, region in keys)]
    cells = {}
    for subset in map(str, means.index):
        values = [_with_deviation(means[key][subset], deviations[key][subset], key[1]) for key in keys]
        cells[subset] = f"<td>{cases[subset]}</td>" + "".join(values)
    foot = '<td class="name" colspan="5">mean</td>'
    foot += "".join(f"<td{_first(key[1])}>{number(means[key].mean())}</td>" for key in keys)
    return _table(groups, head, _rows(cells), foot)


def _first(region: str) -> str:
    return ' class="first"' if region == REGIONS[0] else ""


def _with_deviation(mean: float, deviation: float, region: str) -> str:
    spread = "" if pd.isna(deviation) else f' <span class="sd">±{number(deviation)}</span>'
    return f"<td{_first(region)}>{number(mean)}{spread}</td>"


def _beside(results: Results, region: str) -> str:
    table = results.beside(region)
    kinds = [kind for kind, _ in columns_of(table)]
    groups = f'<th colspan="4">{region}, Dice in %</th>' + "".join(
        f'<th colspan="{kinds.count(kind)}" class="first">{name}</th>' for kind, name in KINDS.items() if kind in kinds
    )
    classes = [f"{STYLES[kind]}{' first' * (place == kinds.index(kind))}" for place, kind in enumerate(kinds)]
    labels = [name.removeprefix(f"{THIS_RUN} ") for _, name in columns_of(table)]
    head = [*MODALITY_HEAD]
    head += [f'<th class="{c}">{escape(label)}</th>' for c, label in zip(classes, labels, strict=True)]
    cells = {
        str(subset): "".join(f'<td class="{c}">{number(v)}</td>' for c, v in zip(classes, row, strict=True))
        for subset, row in table.iterrows()
    }
    means = table.mean(skipna=False)
    foot = '<td class="name" colspan="4">mean</td>'
    foot += "".join(f'<td class="{c}">{number(v)}</td>' for c, v in zip(classes, means, strict=True))
    return _table(groups, head, _rows(cells), foot, "wide")


def _comparison(page: Page) -> list[str]:
    tests = page.results.tests()
    if not tests:
        return []
    groups = '<th colspan="4"></th>'
    groups += "".join(f'<th colspan="3" class="first">{GROUPS[measure]}</th>' for measure in (RAW, FINAL))
    head = ['<th class="name">this run less</th>', "<th>cases</th>", "<th>subsets</th>", "<th></th>"]
    head += [f"<th{_first(region)}>{region}</th>" for _ in (RAW, FINAL) for region in REGIONS]
    body = []
    for name, by_region in tests.items():
        bundle = page.other_records[name]["bundle"]
        label = f"{name} ({bundle['name']} {bundle['version']}, {page.other_records[name]['weights']['sha256'][:12]})"
        subsets = max(test.subsets for test in by_region.values())
        lead = f'<td class="name" rowspan="2">{escape(label)}</td><td rowspan="2">{page.results.common(name)[0]}</td>'
        lead += f'<td rowspan="2">{subsets}</td><td class="name">mean difference</td>'
        found = [(by_region[measure, region], region) for measure in (RAW, FINAL) for region in REGIONS]
        body.append(
            f"<tr>{lead}"
            + "".join(f"<td{_first(region)}>{number(100 * t.difference, sign=True)}</td>" for t, region in found)
            + "</tr>"
        )
        body.append(
            '<tr><td class="name">p, one-tailed</td>'
            + "".join(f"<td{_first(region)}>{p_value(t.p)}</td>" for t, region in found)
            + "</tr>"
        )
    note = (
        f'<p class="note">{escape(TEST_NOTE)} Taken over the cases and subsets that both runs measured; the columns of '
        "other runs below are means over all of their own cases.</p>"
    )
    return ["<h2>Against other runs</h2>", _table(groups, head, body), note]


def _figure(heading: str, caption: str, path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(heading)}" src="data:image/png;base64,{content}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _cases(page: Page) -> str:
    scores = page.results.scores
    head = ['<th class="name">case</th>', '<th class="name">modalities</th>', '<th class="name">layout</th>']
    head += ["<th>subsets</th>", *(f"<th{_first(region)}>{region}</th>" for region in REGIONS)]
    body = []
    for name, lines in scores.groupby("case", sort=False):
        facts = page.record["cases"].get(str(name), {})
        means = percent(by_subset(lines)).mean()
        modalities = subset_name(facts["modalities"]) if facts else ""
        body.append(
            f'<tr><td class="name">{escape(str(name))}</td><td class="name">{escape(modalities)}</td>'
            f'<td class="name">{escape(facts.get("layout", ""))}</td><td>{lines["subset"].nunique()}</td>'
            + "".join(f"<td{_first(region)}>{number(means[FINAL, region])}</td>" for region in REGIONS)
            + "</tr>"
        )
    groups = f'<th colspan="4"></th><th colspan="3" class="first">mean over its subsets, {GROUPS[FINAL]}</th>'
    return _table(groups, head, body)
