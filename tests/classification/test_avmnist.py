"""Building the data set from small downloads, reading it again, and the real one."""

import io
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from medmiss.cases import CaseError
from medmiss.classification import build_avmnist, mfcc, read_avmnist, write_avmnist
from medmiss.classification.sources import read_mnist

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "avmnist"


def test_sounds_are_split_by_index_and_images_by_file(mnist, fsdd):
    arrays = build_avmnist(mnist, fsdd)
    for part, indices, file in (("train", 3, "train"), ("test", 2, "t10k")):
        per_digit = 3 * indices
        assert (arrays[f"{part}_label"] == np.repeat(np.arange(10), per_digit)).all()
        assert (arrays[f"{part}_speaker"] == np.tile(np.repeat(np.arange(3), indices), 10)).all()
        images, labels = read_mnist(mnist, file)
        for digit in range(10):
            chosen = arrays[f"{part}_image"][arrays[f"{part}_label"] == digit]
            assert (chosen == images[labels == digit][:per_digit]).all()
    together = np.concatenate([arrays["test_image"], arrays["more_image"]])
    assert sorted(image.tobytes() for image in together) == sorted(image.tobytes() for image in images)
    assert len(arrays["more_label"]) == 20


def test_a_sound_is_the_features_of_its_recording(mnist, fsdd):
    sounds = build_avmnist(mnist, fsdd, "smil")["train_sound"]
    _, wave = wavfile.read(fsdd / "recordings" / "4_bob_16.wav")
    values = mfcc((wave / 32768)[::3], 8000)
    sound = sounds[4 * 9 + 3 + 1]
    assert np.allclose(sound[:, : values.shape[1]], values, atol=1e-4)
    assert values.shape[1] < 20
    assert not sound[:, values.shape[1] :].any()
    fuller = build_avmnist(mnist, fsdd, "full")["train_sound"]
    assert fuller.shape == sounds.shape
    assert (fuller != 0).any(axis=1).sum() > 2 * (sounds != 0).any(axis=1).sum()


def test_an_archive_gives_what_the_folder_gives_and_writes_nothing(mnist, fsdd, archive, tmp_path):
    file = archive(lambda name: f"../../{name}")
    before = sorted(tmp_path.rglob("*"))
    packed, plain = build_avmnist(mnist, file), build_avmnist(mnist, fsdd)
    assert all((packed[name] == plain[name]).all() for name in plain)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_tool_writes_the_same_bytes_each_time(mnist, fsdd, tmp_path, monkeypatch):
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    main = runpy.run_path(str(ROOT / "tools" / "prepare_avmnist.py"))["main"]
    for file in files:
        words = ["prepare_avmnist", "--mnist", str(mnist), "--fsdd", str(fsdd), "--out", str(file)]
        monkeypatch.setattr(sys, "argv", words)
        assert main() == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    built, read = build_avmnist(mnist, fsdd), read_avmnist(files[0])
    assert built.keys() == read.keys()
    assert all((built[name] == read[name]).all() for name in built)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("0_ann_15.wav", b"RIFF", "a broken file"),
        ("0_ann_15.wav", None, "samples float64"),
        ("notes.txt", b"", "no recording"),
    ],
)
def test_a_bad_download_is_named(mnist, tmp_path, name, content, found):
    if content is None:
        buffer = io.BytesIO()
        wavfile.write(buffer, 8000, np.zeros(100))
        content = buffer.getvalue()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CaseError, match=found):
        build_avmnist(mnist, tmp_path)


def test_mnist_that_is_cut_off_is_named(mnist, tmp_path):
    for file in mnist.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[:-1] if file.name.startswith("train-images") else content)
    with pytest.raises(CaseError, match="idx file of bytes in 3 dimensions"):
        read_mnist(tmp_path, "train")
    with pytest.raises(CaseError, match="found nothing"):
        read_mnist(tmp_path / "elsewhere", "train")
    header = (mnist / "t10k-images-idx3-ubyte.gz").read_bytes()[:10]
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(header + 20 * b"\xff")
    with pytest.raises(CaseError, match="a broken archive"):
        read_mnist(tmp_path, "t10k")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"neither"])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    file = tmp_path / "a.npz"
    with pytest.raises(CaseError, match="found nothing"):
        read_avmnist(file)
    file.write_bytes(content)
    with pytest.raises(CaseError, match="something else"):
        read_avmnist(file)
    with pytest.raises(CaseError, match="found a folder"):
        read_avmnist(tmp_path)


def test_an_array_that_is_not_there_is_named(mnist, fsdd, tmp_path):
    arrays: dict[str, Any] = {name: array for name, array in build_avmnist(mnist, fsdd).items() if name != "mfcc"}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(CaseError, match="found no mfcc, but expected a file of tools/prepare_avmnist"):
        read_avmnist(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("train_image", lambda images: images[:, ::2, ::2], r"train_image of shape \(90, 14, 14\)"),
        ("test_label", lambda labels: labels + 5, "test_label with numbers that are none, or outside 0 to 9"),
        ("test_sound", lambda sounds: np.where(sounds > 0, np.nan, sounds), "test_sound with numbers that are none"),
        ("train_speaker", lambda speakers: speakers[:-1], r"train_speaker of shape \(89,\)"),
        ("mfcc", lambda variant: np.array(f"half {variant}"), "mfcc 'half full', but expected one of full, smil"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_named(mnist, fsdd, tmp_path, name, change, found):
    arrays = build_avmnist(mnist, fsdd)
    write_avmnist(tmp_path / "a.npz", arrays | {name: change(arrays[name])})
    with pytest.raises(CaseError, match=found):
        read_avmnist(tmp_path / "a.npz")


def test_the_archive_in_a_folder_is_read_where_there_are_no_recordings(mnist, archive, tmp_path):
    file = archive()
    built = build_avmnist(mnist, file)
    for folder in (file.parent, file.parents[1]):
        again = build_avmnist(mnist, folder)
        assert all((built[name] == again[name]).all() for name in built)
    (file.parent / "another.tgz").write_bytes(file.read_bytes())
    with pytest.raises(CaseError, match=r"several archives \(another.tgz, fsdd.tar.gz\), but expected one"):
        build_avmnist(mnist, file.parent)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")
def test_the_real_set_has_the_published_size(tmp_path):
    arrays = build_avmnist(DATA, DATA / "fsdd_v1.0.8_1500.tar.gz", "smil")
    assert [len(arrays[f"{part}_label"]) for part in ("train", "test", "more")] == [1050, 450, 9550]
    assert (np.bincount(arrays["train_label"]) == 105).all()
    # Decimated by three, all but some of the clips fill two or three columns of the 20.
    filled = (arrays["train_sound"] != 0).any(axis=1).sum(axis=1)
    assert 0.8 < np.isin(filled, (2, 3)).mean() < 0.95
    write_avmnist(tmp_path / "avmnist.npz", arrays)
    assert (read_avmnist(tmp_path / "avmnist.npz")["test_sound"] == arrays["test_sound"]).all()


@pytest.mark.parametrize("gone", ["9_*.wav", "3_*_15.wav"])
def test_recordings_that_are_missing_are_told(mnist, fsdd, tmp_path, gone):
    for file in fsdd.rglob("*.wav"):
        if not file.match(gone):
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(CaseError, match=r"FSDD.*found 1\d\d recordings, but expected 150, as many of each digit"):
        build_avmnist(mnist, tmp_path)
