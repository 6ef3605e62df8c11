"""The tiny pretrained folders are what stock fairseq expects of the published ones."""

import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel

from emofair.checkpoints import safe
from emofair.testing import tiny_spec, tiny_ssl_dir

PARTS = {
    "vq-wav2vec": {"vq-wav2vec_kmeans.pt"},
    "vq-wav2vec-Kmeans-Roberta": {"bert_kmeans.pt", "dict.txt"},
    "roberta.large": {"model.pt", "dict.txt", "encoder.json", "vocab.bpe"},
}


@pytest.fixture(autouse=True)
def _old_arguments_are_trusted():
    # torch's own context manager would withdraw what is registered for the whole process.
    safe.register()


def test_has_the_published_layout(tmp_path):
    root = tiny_ssl_dir(tmp_path / "ssl")
    assert {part.name: {file.name for file in part.iterdir()} for part in root.iterdir()} == PARTS


@pytest.mark.parametrize("old_style", [False, True])
def test_stock_fairseq_loads_both_roberta_models(tmp_path, old_style):
    root = tiny_ssl_dir(tmp_path, speech_dim=16, text_dim=24, layers=1, heads=2, old_style=old_style)
    speech = RobertaModel.from_pretrained(
        str(root / "vq-wav2vec-Kmeans-Roberta"),
        "bert_kmeans.pt",
        str(root / "vq-wav2vec-Kmeans-Roberta"),
        bpe=None,
    )
    text = RobertaModel.from_pretrained(str(root / "roberta.large"), "model.pt", str(root / "roberta.large"), bpe=None)
    tokens = torch.tensor([[0, 4, 5, 6, 2]])
    assert speech.extract_features(tokens).shape == (1, 5, 16)
    assert text.extract_features(tokens).shape == (1, 5, 24)
    long = torch.cat([torch.zeros(1, 1), torch.full((1, 2046), 7), torch.full((1, 1), 2)], dim=1).long()
    assert speech.extract_features(long).shape[1] == 2048


@pytest.mark.parametrize("old_style", [False, True])
def test_first_position_hears_the_other_tokens(tmp_path, old_style):
    folder = str(tiny_ssl_dir(tmp_path, old_style=old_style) / "vq-wav2vec-Kmeans-Roberta")
    model = RobertaModel.from_pretrained(folder, "bert_kmeans.pt", folder, bpe=None).eval()
    one, other = torch.tensor([[0, 4, 5, 6, 2]]), torch.tensor([[0, 24, 35, 46, 2]])
    change = (model.extract_features(one)[0, 0] - model.extract_features(other)[0, 0]).norm()
    assert change > 0.05 * model.extract_features(one)[0, 0].norm()


def test_stock_fairseq_loads_the_quantizer_and_its_words_are_in_the_dictionary(tmp_path):
    root = tiny_ssl_dir(tmp_path, speech_vocab=36)
    (model,), _, _ = load_model_ensemble_and_task([str(root / "vq-wav2vec" / "vq-wav2vec_kmeans.pt")])
    model.eval()
    with torch.no_grad():
        _, codes = model.vector_quantizer.forward_idx(model.feature_extractor(torch.randn(1, 16000)))
    assert codes.shape == (1, 98, 2)
    words = {"-".join(map(str, pair.tolist())) for pair in codes[0]}
    dictionary = Dictionary.load(str(root / "vq-wav2vec-Kmeans-Roberta" / "dict.txt"))
    assert len(dictionary) == 40
    assert all(word in dictionary for word in words)
    assert len(words) > 5


def test_same_seed_same_weights_and_the_global_generator_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    folders = [tiny_ssl_dir(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert torch.equal(torch.rand(3), expected)
    first, same, other = (torch.load(folder / "roberta.large" / "model.pt")["model"] for folder in folders)
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])


def test_old_style_has_the_old_names(tmp_path):
    root = tiny_ssl_dir(tmp_path, old_style=True)
    text = torch.load(root / "roberta.large" / "model.pt")
    assert "cfg" not in text
    assert text["args"].task == "masked_lm"
    assert "decoder.sentence_encoder.emb_layer_norm.weight" in text["model"]
    speech = torch.load(root / "vq-wav2vec" / "vq-wav2vec_kmeans.pt")["args"]
    assert speech.arch == "audio_cpc"
    assert not hasattr(speech, "combine_groups")


def test_text_dictionary_has_as_many_lines_as_asked(tmp_path):
    root = tiny_ssl_dir(tmp_path, text_vocab=400, text_name="roberta.base")
    assert len((root / "roberta.base" / "dict.txt").read_text().splitlines()) == 400


def test_tiny_spec_takes_overrides():
    spec = tiny_spec(69, layers=1)
    assert (spec.vocab_size, spec.layers, spec.embed_dim) == (69, 1, 32)
