"""Registered fairseq tasks, one file each. fairseq imports this package for ``--user-dir emofair``."""

from emofair import compat

compat.apply()

from emofair import criterions, schedulers  # noqa: E402, F401

compat.import_all(__name__, __path__)
