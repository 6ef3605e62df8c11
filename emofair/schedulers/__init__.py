"""Registered learning-rate schedules, one file each; importing the package registers them."""

from emofair.schedulers import warmup_hold_linear  # noqa: F401
