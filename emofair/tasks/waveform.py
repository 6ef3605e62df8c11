"""What tasks that read waveforms from the shared manifests do the same way; above all, keep folds apart."""

import logging
import os
from collections.abc import Mapping
from typing import Any, Optional

from omegaconf import DictConfig, open_dict

from emofair import compat
from emofair.checkpoints.trained_on import trained_on
from emofair.data import leak_check, manifests
from emofair.data.base import EmofairDataset
from emofair.errors import EmofairError
from emofair.tasks.base import EmofairTask

logger = logging.getLogger(__name__)


def write_option(cfg: DictConfig, **values: object) -> None:
    """Set options in a task's configuration and in fairseq's whole one, which goes into checkpoints."""
    parent = cfg._get_parent() if isinstance(cfg, DictConfig) else None
    for config in [cfg] if parent is None or "task" not in parent else [cfg, parent["task"]]:
        with open_dict(config):
            config.update(values)


class WaveformTask(EmofairTask):
    """Base of tasks on utterance corpora with audio.

    A checkpoint remembers all that it, and the stages before it, were trained on and chosen by. Under the clean
    protocol weights of a stage that saw what the fold validates or tests on are refused, and so is scoring a model on
    what it has seen; under the transductive one, where labels were used.
    """

    seen: Optional[Mapping[str, Any]] = None
    # Whether training uses the labels of the corpus; where it does not, only its audio has been heard.
    uses_labels = True

    def items(self, split: str) -> list[manifests.Utterance]:
        """The utterances of a split."""
        return manifests.read_split(self.cfg.data, split)

    def members(self, split: str) -> Optional[set[str]]:
        """Ids of a split; None where there is no such split."""
        if split not in manifests.splits_of(self.cfg.data):
            return None
        return {item.id for item in self.items(split)}

    @property
    def resamples(self) -> bool:
        """Whether audio of other rates is accepted: asked for here, or when the corpus was prepared."""
        return bool(self.cfg.resample or manifests.read_corpus(self.cfg.data).get("resample"))

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False):
        """Build the model, unless an earlier stage has seen what this fold validates or tests on."""
        if self.trains and not from_checkpoint:
            earlier = self.earlier_stages(cfg)
            for source, facts in earlier.items():
                self._refuse(facts, source, leak_check.HELD_OUT)
            self.seen = leak_check.facts_of(
                self.cfg.data,
                [self.subsets.train],
                selects=self.subsets.valid,
                earlier=earlier.values(),
                uses_labels=self.uses_labels,
            )
        return super().build_model(cfg, from_checkpoint)

    def earlier_stages(self, model_cfg: DictConfig) -> dict[str, Mapping[str, Any]]:
        """What the stages before this one were trained on, by the file that tells it."""
        path = model_cfg.get("w2v_path") and compat.original_path(model_cfg.w2v_path)
        facts = trained_on(path) if path and os.path.exists(path) else None
        if facts is None and path:
            logger.info("%s does not say what it was trained on: taken for a public model", path)
        return {} if facts is None else {path: facts}

    def load_dataset(self, split: str, combine: bool = False, **kwargs) -> EmofairDataset:
        """Load a split, unless a finished model that is to be scored on it has seen it in training."""
        if not self.trains and self.seen is not None and split != self.subsets.train:
            self._refuse(self.seen, "the checkpoint", (split,))
        return super().load_dataset(split, combine, **kwargs)

    def _refuse(self, facts: Mapping[str, Any], source: str, splits: tuple[str, ...]) -> None:
        protocol = str(self.cfg.protocol)
        # A stage without validation of its own goes on from one that was chosen on valid.
        held_out = {"splits": splits, "validates": ("valid", *self.subsets.valid), "name": source}
        try:
            leak_check.check_disjoint(facts, self.cfg.data, **held_out)
        except EmofairError as error:
            if protocol == "clean":
                raise
            if protocol == "transductive":
                leak_check.check_disjoint(facts, self.cfg.data, **held_out, labelled=True)
            logger.warning("protocol %s: %s: %s", protocol, source, error.what)

    def facts(self) -> dict[str, object]:
        """The facts of every task, and what was trained on."""
        return {**super().facts(), **leak_check.only_facts(self.seen or {})}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """What the training of a checkpoint saw; a training that goes on adds its own."""
        if self.seen is None and leak_check.TRAINED_IDS in state_dict:
            self.seen = dict(state_dict)
