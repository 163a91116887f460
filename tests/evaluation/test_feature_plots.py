"""Pictures of features: t-SNE, how far apart modalities are, and the heat map of generated features."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

import medmiss.evaluation.feature_plots as module
from medmiss.evaluation.feature_plots import SklearnMissing, draw_embedding, draw_generated, embedded, separation
from medmiss.evaluation.run_plots import MODALITY_COLOURS

GENERATOR = np.random.default_rng(0)
NAMES = np.array(["FLAIR", "T1", "T1c", "T2"] * 10)
NOISE = GENERATOR.normal(size=(40, 6)).astype(np.float32)
CLUSTERS = NOISE + 20 * np.array([["FLAIR", "T1", "T1c", "T2"].index(name) for name in NAMES])[:, None]


def test_tsne_keeps_clusters_apart_and_is_the_same_each_time():
    points = embedded(CLUSTERS)
    assert points.shape == (40, 2)
    assert separation(points, NAMES) > 0.5
    np.testing.assert_array_equal(points, embedded(CLUSTERS))


def test_separation_is_one_for_clusters_and_zero_for_a_mixture():
    assert separation(CLUSTERS, NAMES) > 0.8
    assert abs(separation(NOISE, NAMES)) < 0.2
    assert np.isnan(separation(NOISE[:1], NAMES[:1])) and np.isnan(separation(NOISE[:8], np.array(["T1"] * 8)))


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="t-SNE of 7 points shows nothing: give more cases"):
        embedded(NOISE[:7])
    assert embedded(NOISE[:8]).shape == (8, 2)


def test_without_scikit_learn_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(SklearnMissing, match=r"pip install 'medmiss\[insight\]'"):
        embedded(NOISE)


def test_each_modality_is_seen_in_its_colour(tmp_path: Path):
    points = pd.DataFrame({"kind": "bottleneck", "modality": NAMES, "x": CLUSTERS[:, 0], "y": CLUSTERS[:, 1]})
    for kept in (["FLAIR", "T2"], ["FLAIR", "T1c", "T2"]):  # the grey of T1 is that of letters' edges, too
        draw_embedding(tmp_path / "a.png", points[points["modality"].isin(kept)], {"bottleneck": 0.5})
        pixels = imread(tmp_path / "a.png")[..., :3]
        seen = {
            name
            for name, colour in MODALITY_COLOURS.items()
            if name != "T1" and (np.abs(pixels - np.array(to_rgb(colour))).max(axis=-1) < 0.02).sum() > 20
        }
        assert seen == set(kept)


@pytest.mark.parametrize("windows", [np.nan, 0.4])
def test_a_table_of_some_modalities_is_drawn(tmp_path: Path, windows: float):
    rows = [("T1", "FLAIR", 0.2, 0.9), ("FLAIR", "T1", 0.2, 0.9), ("T1", "FLAIR", 0.4, 0.7)]
    table = pd.DataFrame(rows, columns=["missing", "available", "l1", "cosine"])
    table = table.assign(kind="fused", l1_of_zeros=0.5, l1_of_window=windows)
    draw_generated(tmp_path / "a.png", table)
    small = imread(tmp_path / "a.png").shape
    more = table.assign(available=["FLAIR+T2", "T1+T2", "FLAIR+T2"])
    draw_generated(tmp_path / "b.png", pd.concat([table, more]))
    assert imread(tmp_path / "b.png").shape[1] > small[1]
