# What the Snakefiles share: reading --config, and a training by a preset as a shell command.

import os

import emofair


def setting(name, default):
    """A value of --config; lists may be written [1,2] or 1,2."""
    value = config.get(name, default)
    if isinstance(default, list) and not isinstance(value, list):
        value = [part.strip() for part in str(value).strip("[]").split(",")]
    return value


def checkpoint(path, name="checkpoint_last.pt"):
    """The checkpoint called ``name`` of the stage that left ``path`` behind; a path of a checkpoint stays as it is."""
    path = str(path)
    return path if path.endswith(".pt") else os.path.join(os.path.dirname(path), name)


def training(presets, preset, *options):
    """fairseq-hydra-train with a preset from emofair/config; its output goes beside the folder {params.run}.

    The rule has params data, run and seed; hydra wants absolute paths.
    """
    folder = os.path.join(os.path.dirname(emofair.__file__), "config", presets)
    return (
        f"OMP_NUM_THREADS={{threads}} fairseq-hydra-train --config-dir {folder} --config-name {preset} "
        "task.data={params.data} checkpoint.save_dir={params.run} common.seed={params.seed} common.log_format=json "
        f"hydra.run.dir={{params.run}} hydra.output_subdir=null {' '.join(options)} > {{params.run}}.out 2>&1 "
        "|| (tail -n 5 {params.run}.out >&2; exit 1)"
    )
