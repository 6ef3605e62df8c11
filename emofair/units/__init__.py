"""Discrete units: speech to vq-wav2vec codes, text to byte-pair pieces, both as ids of a fairseq dictionary."""
