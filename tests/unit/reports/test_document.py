import base64
from html.parser import HTMLParser

from emofair.reports.document import Code, Heading, Items, Picture, Table, Text, html_page, markdown

BLOCKS = [
    Heading(1, "Results_1"),
    Text("a | b <c> *d* é"),
    Table(["model", "WA"], [["a|b", "1.0"], ["c_d", "−2"]], numeric=1),
    Items(["x", "y & z"]),
    Code(["run <this> & `that`"]),
    Picture("p.png", 'a "picture"', 480),
]


def test_markdown():
    assert markdown(BLOCKS).split("\n\n") == [
        "# Results\\_1",
        "a \\| b \\<c> \\*d\\* é",
        "| model | WA |\n| --- | ---: |\n| a\\|b | 1.0 |\n| c\\_d | −2 |",
        "- x\n- y & z",
        "```sh\nrun <this> & `that`\n```",
        '<img src="p.png" alt="a &quot;picture&quot;" width="480">\n',
    ]


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.texts, self.sources = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


def test_html_holds_everything(tmp_path):
    (tmp_path / "p.png").write_bytes(b"\x89PNG picture")
    reader = Reader()
    reader.feed(html_page(BLOCKS, tmp_path))
    assert reader.open == []
    assert reader.sources == ["data:image/png;base64," + base64.b64encode(b"\x89PNG picture").decode()]
    for expected in (("h1", "Results_1"), ("td", "a|b"), ("th", "WA"), ("pre", "run <this> & `that`"), ("li", "y & z")):
        assert expected in reader.texts
