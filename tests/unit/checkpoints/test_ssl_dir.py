import pytest

from emofair.checkpoints.ssl_dir import locate
from emofair.errors import EmofairError

PLACES = {
    "vq_wav2vec": "vq-wav2vec/vq-wav2vec_kmeans.pt",
    "speech_bert": "vq-wav2vec-Kmeans-Roberta",
    "text_roberta": "roberta.large",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("EMOFAIR_SSL_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


def fill(root, *places):
    for place in places:
        file = root / place if place.endswith(".pt") else root / place / "model.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return root


@pytest.mark.parametrize(("kind", "place"), PLACES.items())
def test_the_published_layout_is_found_everywhere(kind, place, tmp_path, monkeypatch):
    named, from_env = fill(tmp_path / "named", place), fill(tmp_path / "env", place)
    default = fill(tmp_path / "pretrained_ssl", place)
    assert locate(kind).resolve() == default / place
    monkeypatch.setenv("EMOFAIR_SSL_DIR", str(from_env))
    assert locate(kind) == from_env / place
    assert locate(kind, ssl_dir=named) == named / place
    assert locate(kind, ssl_dir=named, path=default / place) == default / place


def test_the_tiny_models_are_found(ssl_dir):
    for kind, place in PLACES.items():
        assert locate(kind, ssl_dir=ssl_dir) == ssl_dir / place


def test_the_larger_text_model_comes_first_and_a_named_size_is_binding(tmp_path):
    root = fill(tmp_path / "both", "roberta.large", "roberta.base")
    assert locate("text_roberta", ssl_dir=root).name == "roberta.large"
    assert locate("text_roberta", ssl_dir=root, only="base").name == "roberta.base"
    base = fill(tmp_path / "only", "roberta.base")
    assert locate("text_roberta", ssl_dir=base).name == "roberta.base"
    with pytest.raises(EmofairError, match=r"roberta\.large") as error:
        locate("text_roberta", ssl_dir=base, only="large")
    assert "roberta.base" not in str(error.value).split("Get it")[0]


def test_an_empty_folder_is_not_a_model(tmp_path):
    root = fill(tmp_path / "root", "roberta.base")
    (root / "roberta.large").mkdir()
    assert locate("text_roberta", ssl_dir=root).name == "roberta.base"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("vq_wav2vec", ["vq-wav2vec/vq-wav2vec_kmeans.pt", "--ssl-dir", "EMOFAIR_SSL_DIR"]),
        ("speech_bert", ["vq-wav2vec-Kmeans-Roberta", "bert_kmeans.pt", "--speech-bert-path", "EMOFAIR_SSL_DIR"]),
        ("text_roberta", ["roberta.large", "roberta.base", "model.pt", "--text-roberta-path", "examples/roberta"]),
    ],
)
def test_one_error_lists_every_place_and_the_source(kind, expected, tmp_path):
    with pytest.raises(EmofairError) as caught:
        locate(kind, ssl_dir=tmp_path / "here")
    assert all(part in str(caught.value) for part in [*expected, str(tmp_path / "here")])
    with pytest.raises(EmofairError, match="pretrained_ssl"):
        locate(kind)


def test_a_named_path_must_exist(tmp_path):
    fill(tmp_path / "pretrained_ssl", "roberta.large")
    with pytest.raises(EmofairError, match=r"nowhere: text RoBERTa model not found"):
        locate("text_roberta", path=tmp_path / "nowhere")
