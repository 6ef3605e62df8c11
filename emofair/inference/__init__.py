"""Using trained models: predictions from files, batches and checkpoints."""
