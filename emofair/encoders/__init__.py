"""Pretrained encoders behind one small interface: a spec that rebuilds them, features and a padding mask out."""
