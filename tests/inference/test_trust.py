"""What a bundle's table says of the modalities at hand."""

import pytest

from medmiss.inference.trust import CAUTION, trust_in

TABLE = {"FLAIR+T2": {"ET": 0.35, "TC": 0.5, "WT": 0.75}, "T1c": {"ET": 0.4, "TC": 0.7, "WT": 0.0}}
METADATA = {"eval_metrics": {"weights_sha256": "abc", "mean_dice": 0.5, "mean Dice on two cases": TABLE}}


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ("FLAIR+T2", "from FLAIR+T2, expect about ET 0.35 (a guess), TC 0.50 (rough), WT 0.75"),
        ("T1c", "from T1c, expect about ET 0.40 (a guess), TC 0.70, WT 0.00 (a guess)"),
        ("T1", None),
    ],
)
def test_the_sentence_is_that_of_the_table(subset: str, expected: str | None):
    said = expected and f"{expected} (mean Dice on two cases; {CAUTION})"
    assert trust_in(METADATA, subset, "abc") == said


def test_a_bundle_that_was_not_measured_promises_nothing():
    assert trust_in({}, "T1c", "abc") is None
    assert trust_in({"eval_metrics": {"weights_sha256": "abc", "mean_dice": 0.5}}, "T1c", "abc") is None


@pytest.mark.parametrize("measured", [{"weights_sha256": "another"}, {}])
def test_other_weights_than_those_that_were_measured_are_promised_nothing(measured: dict[str, str]):
    assert trust_in({"eval_metrics": {**measured, "mean Dice": TABLE}}, "T1c", "abc") is None
