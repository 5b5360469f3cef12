"""The leaderboard: rows, marks, published figures, Markdown, CSV, and the page in a real browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections import Counter
from io import StringIO
from pathlib import Path
from urllib.parse import quote

import pytest

from benchmark.__main__ import main
from benchmark.data.cards import builtin_cards, parse_word
from benchmark.errors import DataError
from benchmark.leaderboard.build import build_site
from benchmark.leaderboard.charts import robustness_charts
from benchmark.leaderboard.marks import mark_rows
from benchmark.leaderboard.metrics import BY_KEY
from benchmark.leaderboard.page import page
from benchmark.leaderboard.published import published_figures, published_sources
from benchmark.leaderboard.rows import MEASURED, PUBLISHED, find_results, measured_rows, published_rows
from benchmark.leaderboard.tables import comma_separated, escape, markdown
from benchmark.protocols import builtin_protocols
from benchmark.results import read_result

HOSTILE = "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">|=cmd"


def rows_of(*paths):
    rows = [row for path in paths for row in measured_rows(path, read_result(path))]
    mark_rows(rows)
    return rows


def marks_of(rows, detector, level="video"):
    return {mark.what: mark.why for row in rows if (row.detector, row.level) == (detector, level) for mark in row.marks}


# --------------------------------------------------------------------------------------------- measured rows


def test_a_result_file_becomes_a_row_per_level(write_run, tmp_path):
    path = write_run(tmp_path, "mine", "CDFv2")
    frame, video = rows_of(path)
    assert (frame.level, video.level) == ("frame", "video")
    assert (video.detector, video.train, video.test, video.protocol) == ("mine", "FF++", "CDFv2", "dfd")
    result = read_result(path)
    assert video.values["auc"].value == result["metrics"]["video"]["auc"]
    assert [video.values["auc"].low, video.values["auc"].high] == result["intervals"]["video"]["auc"]
    assert video.marks == []
    assert (video.parameters, video.speed) == (21_666_434, 512.5)


def test_anti_spoofing_numbers_belong_to_the_video_row(write_run, tmp_path):
    frame, video = rows_of(write_run(tmp_path, "mine", "MCIO/msu", "fas_mcio", fas=True))
    assert "hter@target_eer" not in frame.values
    assert {"hter@target_eer", "hter@dev", "live_tpr@fpr1", "acer@dev"} <= video.values.keys()
    assert video.values["hter@dev"].low <= video.values["hter@dev"].value <= video.values["hter@dev"].high


def test_rows_that_must_not_be_compared_say_why(write_run, tmp_path):
    other_crop = {
        "fingerprint": "samples of CDFv2",
        "origin": {"CDFv2": {"preprocessing": {"settings": {"crop": "retina", "size": 256}}}},
    }
    paths = [
        write_run(tmp_path, "a", "CDFv2"),
        write_run(tmp_path, "b", "CDFv2", seed=1),
        write_run(tmp_path, "crop", "CDFv2", changes={"data": other_crop}),
        write_run(tmp_path, "oracle", "CDFv2", changes={"selection": {"rule": "published", "checkpoint": "best"}}),
        write_run(tmp_path, "silent", "CDFv2", changes={"selection": None}),
        write_run(tmp_path, "holes", "CDFv2", changes={"counts": {"samples": 9, "videos": 9, "missing": 3}}),
        write_run(tmp_path, "dirty", "CDFv2", changes={"code": {"commit": "f", "dirty": True}}),
    ]
    few = read_result(paths[0])
    few["config"]["data"]["frames"]["test"] = 32
    few["config"]["name"], few["data"]["fingerprint"] = "frames", "other"
    paths.append(tmp_path / "few.json")
    paths[-1].write_text(json.dumps(few))
    rows = rows_of(*paths)
    assert marks_of(rows, "a") == marks_of(rows, "b") == {}
    assert marks_of(rows, "crop") == {
        "crop": "Other face crop: crop retina, size 256. Most rows here: crop dlib, size 224."
    }
    assert "best on the test set" in marks_of(rows, "oracle")["selection"]
    assert marks_of(rows, "silent") == {"selection?": "How the checkpoint was chosen is not stated."}
    assert marks_of(rows, "holes") == {"missing": "3 samples of the test set were not scored."}
    assert set(marks_of(rows, "dirty")) == {"code"}
    assert set(marks_of(rows, "frames")) == {"frames", "samples"}


def test_older_versions_of_a_protocol_are_marked(write_run, tmp_path):
    newer = {"protocol": {"name": "dfd", "version": 2, "fold": "", "world": None}}
    rows = rows_of(write_run(tmp_path, "a", "CDFv2"), write_run(tmp_path, "b", "CDFv2", changes=newer))
    assert marks_of(rows, "a") == {"protocol": "Version 1 of the protocol; the newest here is 2."}
    assert marks_of(rows, "b") == {}


def test_last_weights_of_a_published_rule_are_not_an_oracle(write_run, tmp_path):
    changes = {"selection": {"rule": "published", "checkpoint": "last"}}
    assert marks_of(rows_of(write_run(tmp_path, "a", "CDFv2", changes=changes)), "a") == {}


def test_results_of_the_first_schema_are_shown_without_intervals(write_run, tmp_path):
    path = write_run(tmp_path, "old", "CDFv2")
    old = read_result(path)
    for key in ("intervals", "roc", "manipulations", "trained_on"):
        del old[key]
    old["schema"], old["config"]["data"]["train"] = 1, ["FF++@c23"]
    path.write_text(json.dumps(old))
    row = rows_of(path)[1]
    assert (row.values["auc"].low, row.train) == (None, "FF++")


def test_other_json_files_are_passed_over_and_broken_results_are_not(write_run, tmp_path):
    write_run(tmp_path, "mine", "CDFv2")
    (tmp_path / "last.json").write_text('{"step": 3}')
    (tmp_path / "list.json").write_text("[1]")
    assert len(find_results([tmp_path])) == 1
    with pytest.raises(DataError, match=r"No results at .*none"):
        find_results([tmp_path / "none"])
    broken = tmp_path / "broken.json"
    broken.write_text('{"schema": 2, "dataset": "X", "metrics": {}}')
    with pytest.raises(DataError, match=r"broken\.json: not a complete result file"):
        build_site([tmp_path], tmp_path / "site")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples_per_second": "fast"}, "could not convert string to float: 'fast'"),
        ({"parameters": [1]}, "not a complete result file"),
        ({"intervals": {"video": {"auc": [0.1]}}}, "not enough values"),
        ({"roc": {"video": {"fpr": [0, "x"], "tpr": [0, 1]}}}, "could not convert string to float: 'x'"),
        ({"manipulations": {"FF-DF": {"auc": "<b>", "interval": None}}}, "could not convert string to float: '<b>'"),
        ({"hardware": "a machine"}, "not a complete result file"),
    ],
)
def test_numbers_of_result_files_must_be_numbers(write_run, tmp_path, changes, message):
    """The page draws them without asking, so they are checked before."""
    write_run(tmp_path / "results", "a", "CDFv2", changes=changes)
    with pytest.raises(DataError, match=message):
        build_site([tmp_path / "results"], tmp_path / "site")


def test_not_a_number_is_refused(write_run, tmp_path):
    path = write_run(tmp_path, "a", "CDFv2")
    path.write_text(re.sub(r'"auc": [\d.]+', '"auc": NaN', path.read_text()))
    with pytest.raises(DataError, match="nan is not a finite number"):
        build_site([tmp_path], tmp_path / "site")


# -------------------------------------------------------------------------------------------- published rows


def test_published_figures_have_sources_known_sets_and_known_metrics():
    figures, cards = published_figures(), builtin_cards()
    assert len(figures) > 1000
    names = {figure.test for figure in figures} - {"FFIW"}  # a set without a card here
    for name in sorted(names):
        word = parse_word(name, Path("datasets_json"))
        assert word.label == name
        assert word.card.name in cards
    assert {figure.metric for figure in figures} <= BY_KEY.keys()
    protocols = builtin_protocols().keys() | {"", "fas_mcio", "fas_wcs"}
    assert {figure.protocol for figure in figures} <= protocols
    assert {figure.source for figure in figures} == published_sources().keys()
    keys = Counter((f.source, f.detector, f.train, f.test, f.level, f.metric, f.fold) for f in figures)
    assert max(keys.values()) == 1


def test_known_published_figures():
    values = {(f.source, f.detector, f.test, f.level, f.metric): f.value for f in published_figures()}
    assert values["fsfm_dfd_log", "FSFM ViT-B/16 VF2 400e", "CDFv2-NYR", "video", "auc"] == 0.91443
    assert values["deepfakebench", "Xception", "CDFv2", "frame", "auc"] == 0.7365
    assert values["effort_table_1", "Effort", "CDFv2", "video", "auc"] == 0.956
    assert values["fsfm_fas_log", "FSFM ViT-B/16 VF2 400e", "MCIO/oulu", "video", "hter@target_eer"] == 0.07679
    assert values["flip_table_1", "FLIP-MCL (0-shot)", "MCIO/casia", "video", "live_tpr@fpr1"] == 1.0


def test_suspect_and_inverted_figures_are_left_out_or_marked():
    figures = published_figures()
    matrix = {f.detector for f in figures if f.source == "deepfakebench_cross"}
    assert not matrix & {"F3Net", "FFD"}
    assert not [f for f in figures if f.test.startswith("DiFF")]
    rows = published_rows()
    mark_rows(rows)
    doubtful = [r for r in rows if r.detector == "SRM" and r.test == "WDF"]
    assert all("suspect" in " ".join(mark.why for mark in row.marks) for row in doubtful)
    oracle = [r for r in rows if r.about == "DeepfakeBench, results table"]
    assert all("selection" in {mark.what for mark in row.marks} for row in oracle)


def test_against_the_shared_sources(shared):
    """Every figure of the given CSV files that is not an average, a count or suspect is here, unchanged."""
    here = Counter((f.detector, f.value) for f in published_figures())
    for name in ("deepfakebench", "deepfakebench_user_reruns", "df40"):
        with (shared / "data" / "published" / f"{name}.csv").open(newline="") as handle:
            for row in csv.DictReader(handle):
                if "SUSPECT" in row["source"] or row["test"].startswith("avg") or row["metric"] == "count_in_top3":
                    continue
                assert here[row["detector"], float(row["value"])] > 0, row


# --------------------------------------------------------------------------------------- Markdown, CSV, charts


def test_published_and_measured_numbers_never_share_a_column(write_run, tmp_path):
    rows = [*rows_of(write_run(tmp_path, "mine", "CDFv2")), *published_rows()]
    mark_rows(rows)
    table = list(csv.DictReader(StringIO(comma_separated(rows))))
    assert {bool(row["measured"]) for row in table} == {True, False}
    assert all(bool(row["measured"]) != bool(row["published"]) for row in table)
    lines = markdown(rows).splitlines()
    section = lines[lines.index("### CDFv2, video") :]
    heads = [cell.strip() for cell in section[2].split("|")]
    assert heads[3:5] == ["AUC measured", "AUC published"]
    for line in section[4:30]:
        cells = line.split("|")
        assert not (cells[3].strip() and cells[4].strip())


def test_markdown_and_csv_are_safe():
    assert escape("a|b\n<x>`") == "a\\|b \\<x\\>\\`"
    row = published_rows()[0]
    row.detector = "=HYPERLINK(1)"
    assert "'=HYPERLINK(1)" in comma_separated([row])


def test_robustness_charts_need_corrupted_sets(write_run, tmp_path):
    clean = [write_run(tmp_path, "a", "FF++", "robustness")]
    assert robustness_charts(map(read_result, clean)) == {}
    corrupted = [write_run(tmp_path, "a", f"FF++~{kind}", "robustness") for kind in ("jpeg-1", "jpeg-5", "blur-2")]
    charts = robustness_charts(map(read_result, [*clean, *corrupted]))
    assert list(charts) == ["FF++"]
    assert charts["FF++"].count("<polyline") == 2
    assert charts["FF++"].count("<circle") == 3 + 2  # the clean point is the start of both


def test_robustness_command_writes_the_picture(write_run, tmp_path, capsys):
    from xml.etree import ElementTree as Tree

    write_run(tmp_path, HOSTILE.replace("/", ""), "FF++~jpeg-1", "robustness")
    picture = tmp_path / "curve.svg"
    assert main(["robustness", str(tmp_path), "-o", str(picture)]) == 0
    assert Tree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert main(["robustness", str(tmp_path / "site"), "-o", str(picture)]) == 2


# --------------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def site(tmp_path_factory, write_run):
    """Three runs, one of them hostile, on dfd, fas and robustness, with all published rows."""
    root = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        results = Path("results")
        for number, name in enumerate(("alpha", "beta")):
            for test in ("CDFv2", "DFDC"):
                write_run(results, name, test, skill=1 + number, seed=number)
            write_run(results, name, "MCIO/msu", "fas_mcio", seed=number, fas=True)
            for condition in ("", "~jpeg-1", "~jpeg-5"):
                write_run(results, name, f"FF++{condition}", "robustness", seed=number)
        path = write_run(results, "gamma", "CDFv2", seed=7)
        result = read_result(path)
        result["config"]["name"] = result["hardware"]["cpu"] = result["config"]["detector"]["name"] = HOSTILE
        result["trained_on"] = [HOSTILE]
        path.write_text(json.dumps(result))
        assert build_site([results], Path("site")) == 0
    return root / "site"


def test_the_page_needs_nothing_from_elsewhere(site):
    html = (site / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'<)]+", html)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=\"(?!data:)", html)
    assert "default-src &#x27;none&#x27;" in html or "default-src 'none'" in html
    assert html.count("</script>") == 2


def test_building_again_gives_the_same_bytes(site, tmp_path, monkeypatch):
    monkeypatch.chdir(site.parent)
    build_site([Path("results")], tmp_path / "again")
    for name in ("index.html", "leaderboard.md", "leaderboard.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (site / name).read_bytes()


def test_only_measured_rows_when_asked(site, tmp_path, monkeypatch):
    monkeypatch.chdir(site.parent)
    assert main(["leaderboard", "results", "-o", str(tmp_path / "own"), "--no-published"]) == 0
    table = csv.DictReader(StringIO((tmp_path / "own" / "leaderboard.csv").read_text()))
    assert {row["published"] for row in table} == {""}


@pytest.fixture(scope="session")
def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: the page is not checked in a browser")
    return found


@pytest.fixture
def visit(browser, tmp_path):
    """Open a file in headless Chromium: the DOM after its scripts have run, and what the console said."""

    def open_page(path, fragment="", width=1360):
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=5000",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1000", "--dump-dom",
            f"file://{quote(str(path))}{fragment}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, console

    return open_page


def body_rows(dom):
    return re.findall(r"<tr class=\"(?:marked)?\">.*?</tr>", dom.split('<tbody id="body">')[1].split("</tbody>")[0])


def test_the_console_is_really_watched(visit, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<script>undefinedFunction()</script>")
    assert "undefinedFunction" in visit(path)[1][0]


def test_the_page_opens_without_errors_and_shows_a_ranking(visit, site):
    dom, console = visit(site / "index.html")
    assert console == []
    rows = body_rows(dom)
    assert len(rows) > 20
    assert "alpha" in dom
    assert "measured \u00b7" in rows[0] or "published \u00b7" in rows[0]
    assert "<polyline" in dom.split('id="charts"')[1].split("</details>")[0]
    assert "\u2260 crop" in dom


def test_text_of_result_files_is_only_text(visit, site):
    dom, console = visit(site / "index.html", "#protocol=dfd&test=CDFv2&level=video&kind=measured&metric=auc")
    assert console == []
    assert "<title>Face-security leaderboard</title>" in dom
    assert "<img" not in dom
    assert "&lt;/script&gt;&lt;script&gt;document.title='pwned'" in dom.split('<tbody id="body">')[1]
    assert len(body_rows(dom)) == 3


def test_more_than_a_thousand_rows(visit, site):
    dom, console = visit(site / "index.html", "#metric=auc")
    assert console == []
    assert len(body_rows(dom)) == 150
    more = int(re.search(r"Show (\d+) more rows", dom).group(1))
    assert more > 850


def test_detail_view_filters_and_lower_is_better(visit, site):
    link = quote("results/alpha/results/MCIO_msu.json|alpha|MCIO/msu|video")
    fragment = f"#protocol=fas_mcio&test={quote('MCIO/msu')}&level=video&metric={quote('hter@target_eer')}&open={link}"
    dom, console = visit(site / "index.html", fragment)
    assert console == []
    dialog = dom.split("<dialog")[1].split("</dialog>")[0]
    assert "open=" in dialog[:60] or " open" in dialog[:60]
    for text in (
        "alpha on MCIO/msu",
        "data fingerprint",
        "samples of MCIO/msu",
        "HTER, development threshold",
        "print",
    ):
        assert text in dialog
    numbers = [float(value) for value in re.findall(r"<td class=\"number\" data-label=\"(?:Measured|Published)\">"
                                                    r"<span><b>([\d.]+)</b>", dom)]  # fmt: skip
    assert len(numbers) > 20
    assert numbers == sorted(numbers)
    assert 'aria-sort="ascending"' in dom


def test_nothing_overflows_a_phone(visit, site, tmp_path):
    html = (site / "index.html").read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    probe = "<script>document.title = `${document.documentElement.scrollWidth} of ${innerWidth}`</script></body>"
    path = tmp_path / "probe.html"
    path.write_text(html.replace("</body>", probe), encoding="utf-8")
    dom, _ = visit(path, width=390)
    needed, there = map(int, re.search(r"<title>(\d+) of (\d+)</title>", dom).groups())
    assert there < 520
    assert needed <= there


def test_a_page_without_measured_rows_works(visit, tmp_path):
    rows = published_rows()
    mark_rows(rows)
    path = tmp_path / "index.html"
    path.write_text(page(rows, {}), encoding="utf-8")
    dom, console = visit(path)
    assert console == []
    assert body_rows(dom)
    assert {row.kind for row in rows} == {PUBLISHED} != {MEASURED}
