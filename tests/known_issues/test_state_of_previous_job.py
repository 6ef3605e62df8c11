"""fairseq keeps the best score and the early-stop counter in the process: a second training inherited both."""

from __future__ import annotations

from emofair.testing.commands import seed_arguments, train_here


def test_second_training_in_a_process_has_its_own_best_checkpoint_and_patience(token_corpora, ssl_dir, tmp_path):
    corpus = token_corpora("iemocap")
    train_here(seed_arguments(corpus, ssl_dir, tmp_path / "first"))
    # The second cannot learn: by the first one's scores it would have no best checkpoint and stop at once.
    arguments = [*seed_arguments(corpus, ssl_dir, tmp_path / "second"), "--lr", "0", "--patience", "2"]
    output = train_here(arguments)
    assert (tmp_path / "second" / "checkpoint_best.pt").exists()
    assert "early stop" not in output
