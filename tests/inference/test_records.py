"""What is kept about a folder of results."""

from pathlib import Path

from medmiss.inference.records import remember


def test_a_folder_is_for_one_set_of_settings(tmp_path: Path):
    assert remember(tmp_path, {"epochs": 3, "set": ("a=1",)}) == ""
    assert remember(tmp_path, {"epochs": 3, "set": ["a=1"]}) == ""
    assert remember(tmp_path, {"epochs": 5, "set": ["a=1"]}) == "epochs 3, now 5"
    assert remember(tmp_path, {"epochs": 3, "set": ["a=1"]}) == ""
