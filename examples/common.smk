# What the Snakefiles share: reading --config, and a training by a preset as a shell command.

import os

import emofair

FRESH_RUN = os.path.abspath(workflow.current_basedir.join("fresh_run.py").get_path_or_uri(secret_free=True))


def setting(name, default):
    """A value of --config; lists may be written [1,2] or 1,2."""
    value = config.get(name, default)
    if isinstance(default, list) and not isinstance(value, list):
        value = [part.strip() for part in str(value).strip("[]").split(",")]
    return value


def checkpoint(path, name="checkpoint_last.pt"):
    """The checkpoint called ``name`` of a stage that left its marker ``trained``; any other path stays as it is."""
    folder, file = os.path.split(str(path))
    return os.path.join(folder, name) if file == "trained" else str(path)


def started_anew(inputs, options):
    """The head of a shell command that trains with these options, its "$@"; it goes on with a killed training alone."""
    return f"set -- {options}; python {FRESH_RUN} {{params.run}} {inputs} -- \"$@\"; OMP_NUM_THREADS={{threads}} "


def training(presets, preset, *options):
    """fairseq-hydra-train with a preset from emofair/config; its output goes beside the folder {params.run}.

    The rule has params data, run and seed; hydra wants absolute paths.
    """
    folder = os.path.join(os.path.dirname(emofair.__file__), "config", presets)
    words = (
        "task.data={params.data} checkpoint.save_dir={params.run} common.seed={params.seed} common.log_format=json "
        f"hydra.run.dir={{params.run}} hydra.output_subdir=null {' '.join(options)}"
    )
    return (
        started_anew(f"{folder}/{preset}.yaml {{params.data}} {{input}}", words)
        + f'fairseq-hydra-train --config-dir {folder} --config-name {preset} "$@" > {{params.run}}.out 2>&1 '
        "|| (tail -n 5 {params.run}.out >&2; exit 1)"
    )
