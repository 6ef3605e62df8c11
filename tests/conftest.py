"""Shared fixtures: tiny pretrained models and learnable token corpora."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def ssl_dir(tmp_path_factory) -> Path:
    """A pretrained_ssl folder of tiny random models."""
    from emofair.testing import tiny_ssl_dir

    folder = tiny_ssl_dir(tmp_path_factory.mktemp("ssl"))
    (folder / "roberta.base").symlink_to("roberta.large")
    return folder


@pytest.fixture(scope="session")
def token_corpora(tmp_path_factory):
    """Token corpora by target mode, made on demand and kept."""
    from emofair.testing import token_corpus

    made = {}

    def make(mode: str = "iemocap"):
        if mode not in made:
            folder = tmp_path_factory.mktemp(f"tokens_{mode}")
            made[mode] = token_corpus(folder, mode, n={"train": 48, "valid": 22, "test": 22})
        return made[mode]

    return make
