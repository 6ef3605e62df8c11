"""Tiny pretrained models and throw-away corpora, for our tests and for tests of programs built on emofair.

Nothing here is a mock: the models are stock fairseq models with few and random weights, the files have the
published layouts, and the labels of the corpora follow from their tokens, so that training has something
to find.
"""

from emofair.testing.pretrained import SPEECH_WORDS, TEXT_WORDS, tiny_spec, tiny_ssl_dir
from emofair.testing.tokens import TokenCorpus, token_corpus

__all__ = ["SPEECH_WORDS", "TEXT_WORDS", "TokenCorpus", "tiny_spec", "tiny_ssl_dir", "token_corpus"]
