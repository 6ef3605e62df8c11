"""Manifests, audio, datasets, labels and batches."""
