"""Reading foreign checkpoints: the only rooms of emofair in which files are unpickled."""
