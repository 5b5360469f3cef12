"""``python -m benchmark summary``: parameters of a configuration without data, weights or memory."""

from __future__ import annotations

import pytest

from benchmark.__main__ import main


def test_the_published_sta_table(capsys):
    """StA on CLIP ViT-L/14, 14 blocks, 8 frames: the numbers of the paper's layout."""
    assert main(["summary", "configs/sta_clip_l14.yaml", "sta_clip_b16"]) == 0
    large, base = capsys.readouterr().out.strip().split("\n\n")
    rows = {line.split("  ")[1]: line.split()[-2:] for line in large.splitlines()[2:-1]}
    assert large.startswith("sta_clip_l14: detector sta, backbone clip_vit_l14\n")
    assert rows == {
        "backbone": ["177,217,536", "2,048"],
        "temporal embedding": ["8,192", "8,192"],
        "adapters": ["46,613,504", "46,613,504"],
        "head": ["2,050", "2,050"],
    }
    assert large.splitlines()[-1].split() == ["total", "223,841,282", "46,625,794", "(20.8%)"]
    assert base.splitlines()[-1].split()[1:3] == ["108,695,042", "22,897,154"]


def test_overrides_and_errors(capsys):
    assert main(["summary", "sta_clip_b16", "detector.sites=[-1]", "detector.skip_last_patch_path=true"]) == 0
    assert f"{'adapters':<20}{'1,907,328':>14}{'590,976':>14}" in capsys.readouterr().out
    assert main(["summary", "sta_clip_b16", "detector.sites=[12]"]) == 2
    assert "sites [12]: the backbone has blocks 0 to 11" in capsys.readouterr().err
    assert main(["summary", "no_such"]) == 2


@pytest.mark.parametrize("verb", [["summary", "--help"]])
def test_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main(verb)
    assert stop.value.code == 0
    assert "configs/sta_clip_l14.yaml" in capsys.readouterr().out
