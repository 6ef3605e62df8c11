"""TextGrids: what is written is read, in every form and encoding that Praat and aligners make; bad files are named."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from emofair.data.textgrid import Interval, IntervalTier, Point, PointTier, TextGrid, read_textgrid, write_textgrid
from emofair.errors import EmofairError

WORDS = [Interval(0, 0.04, "are"), Interval(0.04, 1.25, 'she said "no"'), Interval(1.25, 2.4888125, "")]
GRID = TextGrid(0, 2.4888125, [IntervalTier("wörds", WORDS), PointTier("5 !marks", [Point(0.5, "Müdigkeit <x> 3")])])

SHORT = """File type = "ooTextFile"
"TextGrid"

0
2.4888125
<exists>
2
"IntervalTier"
"wörds"
0
2.4888125
3
0
0.04
"are"
0.04
1.25
"she said ""no"\""
1.25
2.4888125
""
"TextTier"
"5 !marks"
0
2.4888125
1
0.5 ! a comment with "quotes" and 7
"Müdigkeit <x> 3"
"""


def test_what_is_written_is_read(tmp_path):
    write_textgrid(tmp_path / "a.TextGrid", GRID)
    assert read_textgrid(tmp_path / "a.TextGrid") == GRID
    text = (tmp_path / "a.TextGrid").read_text(encoding="utf-8")
    assert 'text = "she said ""no"""' in text and "xmax = 2.4888125\n" in text and "\r" not in text
    assert text.splitlines()[:8] == [
        *('File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", "xmax = 2.4888125"),
        *("tiers? <exists>", "size = 2", "item []:"),
    ]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("form", ["long", "short"])
def test_every_form_and_encoding(tmp_path, form, encoding, ends):
    path = tmp_path / "a.TextGrid"
    write_textgrid(path, GRID)
    text = SHORT if form == "short" else path.read_text(encoding="utf-8")
    path.write_bytes(text.replace("\n", ends).encode(encoding))
    assert read_textgrid(path) == GRID


def test_big_endian_with_its_mark_and_a_text_over_two_lines(tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_bytes(b"\xfe\xff" + SHORT.replace('"are"', '"a\nre"').encode("utf-16-be"))
    assert read_textgrid(path).tier("wörds").intervals[0].text == "a\nre"


def test_no_tiers(tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_text('"ooTextFile"\n"TextGrid"\n0 1.5 <absent>')
    assert read_textgrid(path) == TextGrid(0, 1.5, [])


def test_tiers_by_name():
    assert GRID.tier("wörds").intervals == WORDS
    with pytest.raises(EmofairError, match=r"no tier 'phones' \(it has wörds, 5 !marks\)"):
        GRID.tier("phones")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[: t.index('"TextTier"')], ":21: breaks off where a text in quotes should follow"),
        (lambda t: t[: t.index("0.5 !")], "breaks off where a number should follow"),
        (lambda t: t.replace("1.25\n2.4888125\n", "0.02\n2.4888125\n"), ":20: the times of tier 'wörds' run backwards"),
        (lambda t: t.replace("\n0.04\n1.25\n", "\n0.04\n0.03\n"), ":17: the times of tier 'wörds' run backwards"),
        (lambda t: t.replace('"TextTier"', '"PitchTier"'), "'PitchTier' is not known"),
        (lambda t: t.replace('"TextGrid"', '"Pitch"'), ":2: is not a TextGrid"),
        (lambda t: t.replace("<exists>", '"x"'), "<exists> or <absent> should"),
        (lambda t: t.replace("<exists>\n2", "<exists>\n1"), "more follows than the file announces"),
        (lambda t: t.replace("<exists>\n2", "<exists>\n2.5"), "2.5 stands where a count should"),
        (lambda t: t.replace("\n3\n", '\n"three"\n'), ":12: '\"three\"' stands where a number should"),
        (lambda t: t.replace("0.04\n1.25", "1e999\n1.25"), "'1e999' stands where a number should"),
        (lambda t: t.replace('"wörds"', "4"), "'4' stands where a text in quotes should"),
        (lambda t: t.replace("\n0\n2.4888125\n<", "\n3\n2.4888125\n<"), "lasts from 3.0 s to 2.4888125 s"),
        (lambda t: t.replace('"wörds"\n0\n', '"wörds"\n9\n'), "'wörds' lasts from 9.0 s to 2.4888125 s"),
        (lambda t: "<html>sorry</html>", ":1: '<html>' stands where a text in quotes should"),
        (lambda t: "", ":1: breaks off"),
    ],
)
def test_bad_files_are_one_line_with_the_place(tmp_path, change, message):
    path = tmp_path / "a.TextGrid"
    path.write_text(change(SHORT), encoding="utf-8")
    with pytest.raises(EmofairError) as caught:
        read_textgrid(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_named(tmp_path):
    path = tmp_path / "a.TextGrid"
    for content, message in (
        (b"ooBinaryFile\x08TextGrid", "is a binary TextGrid. Save it in Praat"),
        (SHORT.encode("latin-1"), "is neither UTF-8 nor UTF-16"),
    ):
        path.write_bytes(content)
        with pytest.raises(EmofairError, match=message):
            read_textgrid(path)
    with pytest.raises(EmofairError, match="no such TextGrid"):
        read_textgrid(tmp_path / "none")
    with pytest.raises(EmofairError, match="cannot be read"):
        read_textgrid(tmp_path)


@pytest.mark.parametrize(
    "intervals",
    [
        [Interval(0, 1, "a"), Interval(1.5, 2, "b")],
        [Interval(0, 1.2, "a"), Interval(1, 2, "b")],
        [Interval(0, 1, "a")],
        [Interval(0.5, 2, "a")],
        [Interval(0, 0, "a"), Interval(0, 2, "b")],
        [],
    ],
)
def test_intervals_must_cover_the_time(tmp_path, intervals):
    with pytest.raises(EmofairError, match="tier 'x' leave gaps"):
        write_textgrid(tmp_path / "a", TextGrid(0, 2, [IntervalTier("x", intervals)]))


def test_points_must_be_in_order_within_the_time(tmp_path):
    for times in ((1, 0.5), (3,), (-1,)):
        with pytest.raises(EmofairError, match="points of tier 'x'"):
            write_textgrid(tmp_path / "a", TextGrid(0, 2, [PointTier("x", [Point(t, "") for t in times])]))


REAL = Path(os.environ.get("EMOFAIR_TEST_DATA", "/nonexistent"))


@pytest.mark.skipif(not (REAL / "conv_ssl_phrases").is_dir(), reason="EMOFAIR_TEST_DATA names no conv_ssl_phrases")
def test_the_published_alignments_are_read_and_written(tmp_path):
    paths = [*(REAL / "conv_ssl_example").glob("*.TextGrid"), *(REAL / "conv_ssl_phrases").rglob("*.TextGrid")]
    assert len(paths) == 181
    for path in paths:
        grid = read_textgrid(path)
        assert [tier.name for tier in grid.tiers] == ["words", "phones"]
        assert path.read_text().count("text =") == sum(len(tier.intervals) for tier in grid.tiers)
        assert all(a.end <= b.start for t in grid.tiers for a, b in pairwise(t.intervals))
        write_textgrid(tmp_path / "copy", grid)
        assert read_textgrid(tmp_path / "copy") == grid
    example = read_textgrid(next((REAL / "conv_ssl_example").glob("*.TextGrid")))
    assert [interval.text for interval in example.tier("words").intervals[:3]] == ["are", "you", "a"]
    assert example.end == 2.4888125
