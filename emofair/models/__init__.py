"""Registered fairseq models, one file each, with their configuration above them."""

from emofair import compat

compat.apply()
compat.import_all(__name__, __path__)
