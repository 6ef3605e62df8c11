"""Ids that every fairseq dictionary begins with, of text pieces and of speech codes alike."""

BOS, PAD, EOS, UNKNOWN = 0, 1, 2, 3
"""``<s>``, ``<pad>``, ``</s>`` and ``<unk>``."""
