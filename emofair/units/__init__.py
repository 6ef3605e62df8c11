"""Discrete units: speech to vq-wav2vec codes, text to byte-pair pieces, both as ids of a fairseq dictionary."""

BOS, EOS, UNKNOWN = 0, 2, 3
"""Ids of ``<s>``, ``</s>`` and ``<unk>`` in every fairseq dictionary (1 is padding)."""
