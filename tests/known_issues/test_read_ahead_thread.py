"""fairseq's read-ahead thread, alive when training stopped in mid-epoch, could abort the finished program."""

import threading

from emofair.testing.commands import seed_arguments, train_here


def test_no_thread_reads_ahead_without_workers(token_corpora, ssl_dir, tmp_path):
    before = set(threading.enumerate())
    arguments = seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path)
    train_here([*arguments, "--max-update", "2", "--num-workers", "0", "--data-buffer-size", "10"])
    assert (tmp_path / "checkpoint_last.pt").exists()
    left = [t for t in threading.enumerate() if t not in before and "BackgroundConsumer" in type(t).__name__]
    assert left == []
