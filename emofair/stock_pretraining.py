"""What stock fairseq's self-supervised tasks lack: checks of what they are given, and a memory of what they heard.

The tasks are ``audio_pretraining`` and ``hubert_pretraining``; `install` is part of `emofair.compat`. Lists that
emofair did not prepare are left to fairseq, but for frame labels.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import as_dict
from emofair.data import leak_check, manifests
from emofair.data.audio import SAMPLE_RATE, audio_info
from emofair.data.clip_audio import check_length
from emofair.errors import EmofairError
from emofair.units import label_check
from emofair.units.unit_labels import read_record

# Splits that are cropped at the same place in every validation.
_HELD_OUT = ("valid", "dev", "test")
# Of the masks of validation.
_SEED = 1

_validated_ids: Any = None


def install() -> None:
    """Put the checks into fairseq's classes."""
    from fairseq.data import FileAudioDataset, HubertDataset
    from fairseq.models.hubert import hubert
    from fairseq.tasks.audio_pretraining import AudioPretrainingTask
    from fairseq.tasks.hubert_pretraining import HubertPretrainingTask

    for task in (AudioPretrainingTask, HubertPretrainingTask):
        task.load_dataset = _checked(task, task.load_dataset)
    HubertPretrainingTask.load_dictionaries = _told(HubertPretrainingTask.load_dictionaries)
    HubertDataset.get_audio = _finite(HubertDataset.get_audio, _hubert_audio)
    FileAudioDataset.__getitem__ = _finite(FileAudioDataset.__getitem__, _file_audio)
    HubertPretrainingTask.valid_step = _with_masks_of_its_own(HubertPretrainingTask.valid_step)
    hubert.compute_mask_indices = _seeded_in_validation(hubert.compute_mask_indices)


def _checked(task: type, original: Any) -> Any:
    """``load_dataset`` of a task; subclasses that learn from transcripts are none of ours."""

    @functools.wraps(original)
    def load_dataset(self, split, *args, **kwargs):
        if type(self) is not task or getattr(self, "fine_tuning", False):
            original(self, split, *args, **kwargs)
            return
        ours = os.path.isfile(os.path.join(self.cfg.data, f"{split}.meta.tsv"))
        items = manifests.read_split(self.cfg.data, split) if ours or is_hubert(self) else []
        if ours:
            check_audio(self.cfg.data, split, items)
        if is_hubert(self):
            label_check.check_labels(self, split, items)
        original(self, split, *args, **kwargs)
        if "data_selector" in kwargs:  # so does the trainer load what it trains on, after the checkpoint
            remember(self, split, ours)
        elif split.startswith(_HELD_OUT) and hasattr(self.datasets[split], "random_crop"):
            self.datasets[split].random_crop = False

    return load_dataset


def is_hubert(task: Any) -> bool:
    """Whether a task is HuBERT's pre-training, on frame labels."""
    from fairseq.tasks.hubert_pretraining import HubertPretrainingTask

    return type(task) is HubertPretrainingTask and not task.fine_tuning and task.cfg.label_rate > 0


def check_audio(data: str, split: str, items: Sequence[manifests.Utterance]) -> None:
    """Raise `EmofairError` for clips that these tasks cannot read, and would not name, or would not be told of.

    They take whole files, those at 16 kHz alone, and believe the list of what lengths these are.
    """
    remedy = "Prepare the corpus with --write-audio, which gives every clip a file of its own"
    for row, item in enumerate(items, start=2):
        if item.start is not None or item.end is not None:
            raise EmofairError(
                f"{item.id} is cut from a longer recording, all of which fairseq's pre-training would hear",
                file=os.path.join(data, f"{split}.tsv"),
                row=row,
                remedy=remedy,
            )
        found = audio_info(item.path)
        if found.sample_rate != SAMPLE_RATE:
            raise EmofairError(
                f"is at {found.sample_rate} Hz, and fairseq's pre-training does not resample",
                file=item.path,
                remedy=remedy,
            )
        check_length(item, found.n_samples)


def _finite(original: Any, audio_of: Any) -> Any:
    """What reads a clip of a data set, refusing samples that are none; ``audio_of`` finds its samples and its file."""

    @functools.wraps(original)
    def read(self, index):
        found = original(self, index)
        samples, path = audio_of(self, index, found)
        if not samples.isfinite().all():
            raise EmofairError("samples are NaN or infinite", file=path, remedy="Re-export the file")
        return found

    return read


def _hubert_audio(dataset: Any, index: int, samples: Any) -> tuple[Any, str]:
    return samples, os.path.join(dataset.audio_root, dataset.audio_names[index])


def _file_audio(dataset: Any, index: int, sample: dict[str, Any]) -> tuple[Any, str]:
    name = dataset.fnames[index]
    name = dataset.text_compressor.decompress(name if isinstance(name, str | bytes) else name.as_py())
    return sample["source"], os.path.join(dataset.root_dir, name)


def _told(original: Any) -> Any:
    """``load_dictionaries``, with one line about what cannot be read."""

    @functools.wraps(original)
    def load_dictionaries(self):
        if self.cfg.fine_tuning:
            return original(self)
        return [_dictionary(os.path.join(self.get_label_dir(), f"dict.{label}.txt")) for label in self.cfg.labels]

    return load_dictionaries


def _dictionary(path: str) -> Any:
    from fairseq.data import Dictionary

    try:
        return Dictionary.load(path)
    except Exception as error:
        missing = isinstance(error, OSError)
        raise EmofairError(
            "no such dictionary of labels" if missing else f"is no dictionary of labels ({error})",
            file=path,
            remedy="Name what emofair units wrote: its folder by task.label_dir, and task.labels=[km50]",
        ) from None


def remember(task: Any, split: str, ours: bool) -> None:
    """Note in the task's state, and so in every checkpoint, what is trained on: clips, and the labels of frames.

    What the weights have seen before came into the state with their checkpoint. The splits that were loaded before
    choose among the checkpoints.
    """
    state = task.state.state_dict
    if is_hubert(task):
        state[label_check.LABELS] = label_check.identity(task, split)
    if ours:
        earlier = [leak_check.only_facts(state)] if leak_check.TRAINED_IDS in state else []
        if is_hubert(task):
            records = [read_record(path) for path in label_check.files(task, split).values()]
            earlier += [as_dict(record["trained_on"]) for record in records if record.get("trained_on")]
        validates = [each for each in task.datasets if each != split]
        facts = leak_check.facts_of(task.cfg.data, [split], selects=validates, earlier=earlier, uses_labels=False)
        state.update(facts)


def check_restored(trainer: Any, path: str) -> None:
    """Raise `EmofairError` where a training would go on from ``path`` with weights that mean something else to it.

    That is: trained on audio of another normalisation, or with a table of other frame labels.
    """
    from fairseq.tasks.audio_pretraining import AudioPretrainingTask

    task = trainer.task
    if not (is_hubert(task) or type(task) is AudioPretrainingTask) or not os.path.isfile(path):
        return
    stored = safe.load(path, weights=False)
    options = as_dict(as_dict(stored.get("cfg")).get("task")) or as_dict(stored.get("args"))
    normalize = options.get("normalize")
    if normalize is not None and bool(normalize) != bool(task.cfg.normalize):
        raise EmofairError(
            f"was trained {'with' if normalize else 'without'} normalisation; task.normalize is {task.cfg.normalize}",
            file=path,
            remedy=f"Set task.normalize={str(bool(normalize)).lower()}",
        )
    if is_hubert(task):
        save_dir = os.path.abspath(trainer.cfg.checkpoint.save_dir)
        resumes = os.path.dirname(os.path.abspath(path)) == save_dir
        label_check.check_table(task, stored, path, trainer.cfg.dataset.train_subset, resumes=resumes)


def _with_masks_of_its_own(original: Any) -> Any:
    """``valid_step``: every clip is masked as in every other validation, so that these can be compared."""

    @functools.wraps(original)
    def valid_step(self, sample, model, criterion):
        with _validating(sample.get("id") if sample else None):
            return original(self, sample, model, criterion)

    return valid_step


@contextmanager
def _validating(ids: Any) -> Iterator[None]:
    global _validated_ids
    _validated_ids = ids
    try:
        yield
    finally:
        _validated_ids = None


def _seeded_in_validation(original: Any) -> Any:
    @functools.wraps(original)
    def compute_mask_indices(shape, *args, **kwargs):
        if _validated_ids is not None and len(_validated_ids) == shape[0]:
            kwargs |= {"seed": _SEED, "epoch": 0, "indices": _validated_ids}
        return original(shape, *args, **kwargs)

    return compute_mask_indices
