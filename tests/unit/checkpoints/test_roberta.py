import sys
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from omegaconf import OmegaConf

from emofair.checkpoints.roberta import encoder_state, load_dictionary, load_roberta
from emofair.compat import forget_previous_job
from emofair.encoders.roberta import RobertaTokenEncoder
from emofair.errors import EmofairError

WORDS = [f"w{i}" for i in range(40)]
TOKENS = torch.tensor([[0, 11, 39, 7, 23, 7, 2], [0, 30, 4, 2, 1, 1, 1]])


def write_dictionary(folder, words=WORDS):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dict.txt").write_text("".join(f"{word} 1\n" for word in words))


def stock_model(**options):
    """A stock fairseq model over `WORDS` and the arguments it was built with."""
    dictionary = Dictionary()
    for word in WORDS:
        dictionary.add_symbol(word)
    dictionary.add_symbol("<mask>")
    values = {
        "encoder_layers": 3,
        "encoder_embed_dim": 32,
        "encoder_ffn_embed_dim": 56,
        "encoder_attention_heads": 4,
        "max_positions": 20,
        "dropout": 0.25,
        "attention_dropout": 0.15,
        "activation_dropout": 0.05,
    } | options
    torch.manual_seed(0)
    model = RobertaModel.build_model(Namespace(**values), SimpleNamespace(source_dictionary=dictionary)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model, values


def today(state):
    return dict(state)


def with_decoder_prefix(state):
    """Up to fairseq 0.9: the encoder was called decoder, nothing had a version."""
    return {
        name.replace("encoder.", "decoder.", 1).replace("layernorm_embedding", "emb_layer_norm"): value
        for name, value in state.items()
        if not name.endswith(".version")
    }


def with_fused_projections(state):
    """The oldest: query, key and value projections are one matrix; layer norms are numbered in some."""
    state, result = with_decoder_prefix(state), {}
    for name, value in state.items():
        if ".self_attn.q_proj." in name:
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            result[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
        elif ".k_proj." not in name and ".v_proj." not in name:
            result[name] = value
    return result


LAYOUTS = [today, with_decoder_prefix, with_fused_projections]


def save(path, state, values, style="args"):
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = {
        "model": state,
        "optimizer_history": [{"num_updates": 3}],
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(5)}}},
        "extra_state": {"epoch": 1},
    }
    if style == "args":
        checkpoint["args"] = Namespace(arch="roberta_base", task="masked_lm", data="/gone", **values)
    else:
        model = Namespace(_name="roberta_base", **values)
        checkpoint["args"] = None
        checkpoint["cfg"] = {"task": {"_name": "masked_lm", "data": "/gone"}, "model": model}
        if style == "omegaconf":
            checkpoint["cfg"] = OmegaConf.create(checkpoint["cfg"], flags={"allow_objects": True})
        if style == "dict":
            checkpoint["cfg"]["model"] = vars(model)
    torch.save(checkpoint, path)
    return path


def features(loaded):
    encoder = RobertaTokenEncoder(loaded.spec)
    encoder.load_state_dict(loaded.state)
    return encoder.eval()(TOKENS)[0]


@pytest.mark.parametrize("style", ["args", "cfg", "dict", "omegaconf"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_features_of_stock_fairseq(layout, style, tmp_path):
    model, values = stock_model()
    write_dictionary(tmp_path)
    loaded = load_roberta(save(tmp_path / "model.pt", layout(model.state_dict()), values, style))
    expected = model(TOKENS, features_only=True)[0]
    padding_mask = TOKENS == 1
    assert torch.equal(features(loaded)[~padding_mask], expected[~padding_mask])
    spec = loaded.spec
    assert (spec.vocab_size, spec.embed_dim, spec.ffn_dim, spec.layers, spec.heads) == (45, 32, 56, 3, 4)
    assert (spec.dropout, spec.attention_dropout, spec.activation_dropout) == (0.25, 0.15, 0.05)
    assert spec.max_positions == 20
    assert loaded.dictionary.index("w3") == 7
    assert loaded.dictionary.index("<mask>") == 44


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_are_upgraded_as_fairseq_does(layout):
    model, _ = stock_model()
    old = layout(model.state_dict())
    ours = encoder_state(old)
    model.upgrade_state_dict(old)
    theirs = {k.removeprefix("encoder."): v for k, v in old.items() if k.startswith("encoder.sentence_encoder.")}
    assert ours.keys() == theirs.keys() | {"sentence_encoder.version"}
    assert all(torch.equal(ours[name], value) for name, value in theirs.items() if not name.endswith("version"))


def test_numbered_layer_norms_are_renamed():
    model, _ = stock_model()
    state = {
        name.replace("self_attn_layer_norm", "layer_norms.0").replace("final_layer_norm", "layer_norms.1"): value
        for name, value in model.state_dict().items()
    }
    assert encoder_state(state).keys() == encoder_state(model.state_dict()).keys()


@pytest.mark.parametrize(
    "options",
    [
        {"encoder_normalize_before": True, "layernorm_embedding": False},
        {"encoder_learned_pos": False, "activation_fn": "relu"},
        {"no_token_positional_embeddings": True},
        {"untie_weights_roberta": True, "no_scale_embedding": False},
    ],
    ids=["prenorm", "sinusoidal", "no positions", "untied and scaled"],
)
def test_variants_are_read_from_the_file(options, tmp_path):
    model, values = stock_model(**options)
    write_dictionary(tmp_path)
    loaded = load_roberta(save(tmp_path / "model.pt", model.state_dict(), values))
    expected = model(TOKENS, features_only=True)[0]
    assert torch.equal(features(loaded)[:, 0], expected[:, 0])
    assert loaded.spec.max_positions == 20


def test_an_unused_flag_of_old_files_does_not_change_the_encoder(tmp_path):
    """fairseq 0.9 accepted --encoder-normalize-before for RoBERTa and built a post-norm encoder all the same."""
    model, values = stock_model()
    write_dictionary(tmp_path)
    path = save(
        tmp_path / "model.pt", with_decoder_prefix(model.state_dict()), values | {"encoder_normalize_before": True}
    )
    loaded = load_roberta(path)
    assert not loaded.spec.normalize_before
    assert torch.equal(features(loaded)[:, 0], model(TOKENS, features_only=True)[0][:, 0])


def test_half_precision_files_load_into_fp32_encoders(tmp_path):
    model, values = stock_model()
    write_dictionary(tmp_path)
    loaded = load_roberta(save(tmp_path / "model.pt", model.half().state_dict(), values))
    assert features(loaded).dtype == torch.float32


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.pt", "checkpoint_best.pt"], "model.pt"),
        (["bert_kmeans.pt", "other.pt"], "bert_kmeans.pt"),
        (["checkpoint_last.pt", "checkpoint_best.pt", "checkpoint3.pt"], "checkpoint_best.pt"),
        (["checkpoint_last.pt", "checkpoint3.pt"], "checkpoint_last.pt"),
        (["whatever.pt"], "whatever.pt"),
    ],
)
def test_the_checkpoint_in_a_folder_is_found(names, expected, tmp_path):
    model, values = stock_model()
    write_dictionary(tmp_path)
    for name in names:
        save(tmp_path / name, model.state_dict(), values)
    assert load_roberta(tmp_path).path == tmp_path / expected


def test_folders_without_a_clear_choice_are_refused(tmp_path):
    with pytest.raises(EmofairError, match=r"no checkpoint.*model\.pt, bert_kmeans\.pt"):
        load_roberta(tmp_path)
    model, values = stock_model()
    for name in ("a.pt", "b.pt"):
        save(tmp_path / name, model.state_dict(), values)
    with pytest.raises(EmofairError, match="Name the file itself"):
        load_roberta(tmp_path)


@pytest.mark.parametrize("words", [WORDS[:-7], [*WORDS, "x", "y"]], ids=["shorter", "longer"])
def test_a_dictionary_of_the_wrong_size_is_refused_with_both_numbers(words, tmp_path):
    model, values = stock_model()
    write_dictionary(tmp_path, words)
    path = save(tmp_path / "model.pt", model.state_dict(), values)
    with pytest.raises(EmofairError) as caught:
        load_roberta(path)
    message = str(caught.value)
    assert "45 rows" in message
    assert f"{len(words) + 5} symbols" in message
    assert "40 lines" in message


def test_a_missing_dictionary_is_named(tmp_path):
    model, values = stock_model()
    path = save(tmp_path / "model.pt", model.state_dict(), values)
    with pytest.raises(EmofairError, match=r"dictionary is missing.*dict\.txt.*Put the dict\.txt"):
        load_roberta(path)
    with pytest.raises(EmofairError, match=r"elsewhere\.txt: no such dictionary"):
        load_roberta(path, tmp_path / "elsewhere.txt")
    write_dictionary(tmp_path / "other")
    assert len(load_roberta(path, tmp_path / "other" / "dict.txt").dictionary) == 45


@pytest.mark.parametrize("content", ["no count\n", "a 1\na 1\n", "a\n"])
def test_a_bad_dictionary_is_refused(content, tmp_path):
    (tmp_path / "dict.txt").write_text(content)
    with pytest.raises(EmofairError, match=r"dict\.txt: is not a fairseq dictionary"):
        load_dictionary(tmp_path / "dict.txt")


def change(state, name, value):
    return {k: v for k, v in (state | {name: value}).items() if v is not None}


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (
            lambda s: change(s, "encoder.sentence_encoder.layers.1.fc1.bias", None),
            r"lacks weights .*layers\.1\.fc1\.bias",
        ),
        (lambda s: change(s, "encoder.sentence_encoder.quant_noise.weight", torch.zeros(2)), "unknown weights .*quant"),
        (
            lambda s: change(s, "encoder.sentence_encoder.layers.2.fc2.bias", torch.zeros(2)),
            r"misshapen .*\[2\] instead",
        ),
        (lambda s: {"lm_head.bias": torch.zeros(2)}, "no RoBERTa encoder"),
        (lambda s: {}, "no weights under 'model'"),
    ],
)
def test_weights_that_do_not_make_an_encoder_are_named(alter, message, tmp_path):
    model, values = stock_model()
    write_dictionary(tmp_path)
    path = save(tmp_path / "model.pt", alter(model.state_dict()), values)
    with pytest.raises(EmofairError, match=message):
        load_roberta(path)


def test_files_without_hyper_parameters_are_refused(tmp_path):
    model, values = stock_model()
    write_dictionary(tmp_path)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pt")
    with pytest.raises(EmofairError, match="neither 'args' nor 'cfg'"):
        load_roberta(tmp_path)
    del values["encoder_attention_heads"]
    save(tmp_path / "model.pt", model.state_dict(), values)
    with pytest.raises(EmofairError, match="how many attention heads"):
        load_roberta(tmp_path)


def test_options_are_never_evaluated(tmp_path):
    """fairseq evaluates some options as Python, so they must not reach it."""
    model, values = stock_model()
    write_dictionary(tmp_path)
    code = f"open({str(tmp_path / 'it_ran')!r}, 'w').close()"
    values |= {"xformers_att_config": code, "encoder_xformers_att_config": code, "encoder_layers_to_keep": code}
    features(load_roberta(save(tmp_path / "model.pt", model.state_dict(), values)))
    assert not (tmp_path / "it_ran").exists()


def test_a_model_that_fairseq_trains_today_is_loaded(tmp_path, monkeypatch):
    from fairseq_cli import preprocess, train

    write_dictionary(tmp_path)
    text = "\n".join(" ".join(WORDS[(i + j) % 40] for j in range(8)) for i in range(24)) + "\n"
    for split in ("train", "valid"):
        (tmp_path / split).write_text(text)
    data, save_dir = tmp_path / "bin", tmp_path / "save"
    command = f"""preprocess --only-source --srcdict {tmp_path / "dict.txt"} --destdir {data}
        --trainpref {tmp_path / "train"} --validpref {tmp_path / "valid"}"""
    monkeypatch.setattr(sys, "argv", command.split())
    preprocess.cli_main()
    command = f"""train {data} --task masked_lm --criterion masked_lm --arch roberta_base --sample-break-mode complete
        --encoder-layers 2 --encoder-embed-dim 16 --encoder-ffn-embed-dim 24 --encoder-attention-heads 2
        --tokens-per-sample 32 --optimizer adam --lr 1e-3 --batch-size 2 --max-update 2 --cpu --dropout 0.07
        --required-batch-size-multiple 1 --save-dir {save_dir} --log-format none"""
    monkeypatch.setattr(sys, "argv", command.split())
    forget_previous_job()
    train.cli_main()
    loaded = load_roberta(save_dir)  # the dictionary is found in the folder of its training data
    assert loaded.path.name == "checkpoint_best.pt"
    spec = loaded.spec
    assert (spec.vocab_size, spec.layers, spec.embed_dim, spec.ffn_dim, spec.heads) == (45, 2, 16, 24, 2)
    assert (spec.max_positions, spec.dropout) == (32, 0.07)
    stock, _ = stock_model(
        encoder_layers=2, encoder_embed_dim=16, encoder_ffn_embed_dim=24, encoder_attention_heads=2, max_positions=32
    )
    stock.load_state_dict(torch.load(loaded.path, weights_only=False)["model"])
    assert torch.equal(features(loaded)[:, 0], stock(TOKENS, features_only=True)[0][:, 0])
