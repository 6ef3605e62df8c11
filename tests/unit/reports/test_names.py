from emofair.reports.names import slug, unique


def test_slug():
    assert slug("robertaEMO, text + speech") == "robertaEMO-text-speech"
    assert (slug("V-FT"), slug("../x"), slug("ü_1"), slug("+")) == ("V-FT", "x", "ü_1", "group")


def test_unique():
    taken = {"a"}
    assert [unique(name, taken) for name in ("a", "b", "a")] == ["a-2", "b", "a-3"]
    assert taken == {"a", "b", "a-2", "a-3"}
