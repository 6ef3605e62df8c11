"""What every task of emofair does the same way: paths, precision, protocol, empty batches, self-contained models."""

import logging
import os
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.distributed import utils as distributed
from fairseq.models import ARCH_MODEL_INV_REGISTRY, ARCH_MODEL_NAME_REGISTRY
from fairseq.optim.amp_optimizer import AMPOptimizer
from fairseq.tasks import TASK_REGISTRY, FairseqTask
from omegaconf import II, DictConfig, open_dict

from emofair import __version__, compat
from emofair.checkpoints import resume
from emofair.checkpoints.named_classes import own_class
from emofair.criterions.base import reducing_one_step
from emofair.device import autocast_pays
from emofair.errors import EmofairError
from emofair.protocol import PROTOCOLS, Subsets, check_overlap

logger = logging.getLogger(__name__)

# What fairseq adds to the figures of a validation.
FAIRSEQ_FIGURES = ("bsz", "num_updates", "wpb", "wps")
LOWER_IS_BETTER = {"loss", "mae", "mse", *FAIRSEQ_FIGURES}


@dataclass
class EmofairTaskConfig(FairseqDataclass):
    """Options that every task has."""

    data: Optional[str] = field(default=None, metadata={"help": "folder of the manifests"})
    protocol: ChoiceEnum(PROTOCOLS) = field(
        default="clean",
        metadata={
            "help": "clean: nothing of the test set is seen before the end; transductive: earlier stages may have "
            "heard it, without its labels; paper: published habits are allowed. The result is marked so"
        },
    )
    autocast_bf16: bool = field(
        default=False,
        metadata={"help": "bfloat16 autocast around model and loss; for CPUs that have it (GPUs: --bf16 or --fp16)"},
    )
    seed: int = II("common.seed")


class _DataAsOption:
    """Stand-in for a parser that turns fairseq's positional ``data`` into the option ``--data``."""

    def __init__(self, parser) -> None:
        self._parser = parser

    def add_argument(self, *names, **options):
        if names[0] == "data":
            names = ("--data",)
        return self._parser.add_argument(*names, **options)


class EmofairTask(FairseqTask):
    """Base of all tasks.

    - paths are resolved against the user's working directory, also under hydra;
    - state that fairseq keeps in the process is cleared, so that jobs run one after another;
    - the protocol is enforced, and stored in every checkpoint;
    - a model class that has ``prepare_config`` describes itself completely in the checkpoint's configuration.
    """

    path_fields: tuple[str, ...] = ("data",)
    # Registered names of what a subclass works with.
    models: tuple[str, ...] = ()
    criterions: tuple[str, ...] = ()
    # What `setup_task` learns from the rest of the configuration; a task that it did not build has fairseq's defaults.
    subsets = Subsets()
    trains = True
    selects_by: Optional[str] = None
    maximizes: bool = False
    restores: Optional[Path] = None
    _awaits_weights = False
    _validated: Optional[str] = None

    @classmethod
    def add_args(cls, parser) -> None:
        """Add the options of the task's configuration to fairseq's parser, with ``--data`` for its positional."""
        from fairseq.dataclass.utils import gen_parser_from_dataclass

        gen_parser_from_dataclass(_DataAsOption(parser), getattr(cls, "__dataclass")())

    @classmethod
    def setup_task(cls, cfg: DictConfig, **kwargs) -> "EmofairTask":
        """Build the task; ``from_checkpoint`` (fairseq's loader) allows the stored data folder to be gone."""
        compat.forget_previous_job()
        cls._resolve_paths(cfg)
        run = cfg._get_parent() if isinstance(cfg, DictConfig) else None
        trains = not kwargs.get("from_checkpoint")
        if trains:
            if run is not None and "common" in run:
                compat.check_precision(run.common, autocast_bf16=cfg.autocast_bf16)
            cls._check_data_folder(cfg)
        task = cls(cfg)
        task.subsets, task.trains = Subsets.of(run), trains
        if trains:
            task._prepare_training(run)
        return task

    def _prepare_training(self, run: Optional[DictConfig]) -> None:
        if self.cfg.protocol != "paper":
            self.subsets.check()
        self._check_overlap(self.subsets.apart())
        if run is not None and "checkpoint" in run:
            self.restores = resume.file_to_restore(run.checkpoint)
            self.selects_by = run.checkpoint.best_checkpoint_metric if self.subsets.valid else None
            self.maximizes = run.checkpoint.maximize_best_checkpoint_metric

    def _check_overlap(self, pairs: Iterable[tuple[str, str]]) -> None:
        quiet = distributed.get_global_rank() > 0
        check_overlap(str(self.cfg.protocol), pairs, self.members, self.cfg.data, quiet=quiet)

    def is_trained_on(self, split: str) -> bool:
        """Whether this run trains on a split; a task opened for a checkpoint trains on none."""
        return self.trains and split == self.subsets.train

    def members(self, split: str) -> Optional[set[str]]:
        """Ids of the items in a split, None when there is no such split."""
        raise NotImplementedError

    @classmethod
    def _resolve_paths(cls, cfg: DictConfig) -> None:
        # fairseq hands over a copy; its own checks and the checkpoint read the original in the parent.
        parent = cfg._get_parent() if isinstance(cfg, DictConfig) else None
        originals = [cfg] if parent is None or "task" not in parent else [cfg, parent["task"]]
        for config in originals:
            cls._resolve_paths_in(config)

    @classmethod
    def _resolve_paths_in(cls, config: DictConfig) -> None:
        with open_dict(config):
            for name in cls.path_fields:
                if config.get(name):
                    config[name] = compat.original_path(config[name])

    @classmethod
    def _check_data_folder(cls, cfg: DictConfig) -> None:
        if not cfg.data:
            raise EmofairError("no manifest folder is given", remedy="Add --data DIR (task.data=DIR under hydra)")
        if not os.path.exists(cfg.data):
            raise EmofairError("no such folder", file=cfg.data, remedy="Give the folder of the manifests by --data")
        if not os.path.isdir(cfg.data):
            raise EmofairError(
                "this is a file, and a folder is needed", file=cfg.data, remedy="Give its folder by --data"
            )

    def check_data(self, split: str) -> None:
        """Check, before ``split`` is scored, the folders that `setup_task` does not look at for a checkpoint."""
        self._check_data_folder(self.cfg)
        self._check_overlap(self.subsets.apart(split))

    @classmethod
    def check_model(cls, arch: str) -> None:
        """Raise `EmofairError` for an architecture whose model reads other batches than those of this task."""
        if ARCH_MODEL_NAME_REGISTRY.get(arch, arch) not in cls.models:
            archs = [name for model in cls.models for name in (model, *ARCH_MODEL_INV_REGISTRY.get(model, ()))]
            raise EmofairError(
                f"--arch {arch} does not fit --task {cls._name()}",
                remedy=f"Choose one of {', '.join(dict.fromkeys(archs))}",
            )

    @classmethod
    def check_criterion(cls, name: str) -> None:
        """Raise `EmofairError` for a criterion that reads other batches than those of this task."""
        if name not in cls.criterions:
            raise EmofairError(
                f"--criterion {name} does not fit --task {cls._name()}",
                remedy=f"Choose one of {', '.join(cls.criterions)}",
            )

    @classmethod
    def _name(cls) -> str:
        return next(name for name, task in TASK_REGISTRY.items() if task is cls)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False):
        """Build the model; pretrained parts are loaded only where no checkpoint brings the weights."""
        architecture = own_class("model", getattr(cfg, "_name", None))
        self.check_model(cfg._name)
        shapes = {}
        if self.restores is not None and not from_checkpoint:
            shapes = resume.stored_shapes(cfg, self.restores)
            with open_dict(cfg):
                cfg.update(shapes)
        if hasattr(architecture, "prepare_config"):
            architecture.prepare_config(cfg)
        model = super().build_model(cfg, from_checkpoint)
        if from_checkpoint or not hasattr(model, "load_pretrained"):
            return model
        needed = {name for name in cfg if name.endswith(resume.SHAPE) and cfg[name] is not None}
        self._awaits_weights = bool(shapes) and needed <= shapes.keys()
        if self._awaits_weights:
            logger.info("the pretrained models are not read: all weights come from %s", self.restores)
        else:
            model.load_pretrained()
        return model

    def check_restored(self, path: str) -> None:
        """Called before fairseq restores the checkpoint ``path``; it begins anew when there is no such file."""
        if os.path.isfile(path):
            resume.check_protocol(path, str(self.cfg.protocol))
        elif self._awaits_weights:
            raise EmofairError("no such checkpoint, which is needed for the weights of the encoders", file=path)

    def load_dataset(self, split: str, combine: bool = False, **kwargs) -> None:
        """Load a split."""
        self.datasets[split] = self.build_dataset(split, **kwargs)

    def get_batch_iterator(self, dataset, *args, **options):
        """See `fairseq.tasks.FairseqTask.get_batch_iterator`.

        Without worker processes fairseq reads ahead in a thread. One that still reads when training stops in
        mid-epoch is killed inside torch, and takes the finished program down with it (exit code 134).
        """
        if not options.get("num_workers"):
            options["data_buffer_size"] = 0
        return super().get_batch_iterator(dataset, *args, **options)

    def build_dataset(self, split: str, **kwargs):
        """Return the dataset of a split."""
        raise NotImplementedError

    @contextmanager
    def _precision(self, amp: bool = False):
        asked = bool(self.cfg.autocast_bf16)
        with torch.autocast("cuda", enabled=amp and torch.cuda.is_available()):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast_pays(torch.device("cpu"), asked)):
                yield

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """One forward and backward pass; see `fairseq.tasks.FairseqTask.train_step`."""
        model.train()
        model.set_num_updates(update_num)
        with self._precision(amp=isinstance(optimizer, AMPOptimizer)):
            loss, sample_size, logging_output = criterion(model, sample)
        if ignore_grad:
            loss = loss * 0
        optimizer.backward(loss)
        return loss, sample_size, logging_output

    def valid_step(self, sample, model, criterion):
        """One forward pass without gradient. The empty batch of a worker that has no more data counts nothing."""
        model.eval()
        if sample:
            self._validated = sample.get("split", self._validated)
        with torch.no_grad(), self._precision():
            return criterion(model, sample)

    def reduce_metrics(self, logging_outputs, criterion) -> None:
        """Log figures; fairseq-validate calls this once, at the end of a subset, the trainer after every batch."""
        super().reduce_metrics(logging_outputs, criterion)
        if not reducing_one_step():
            criterion.finish_validation(logging_outputs)
            self._tell_protocol(sum(output["nsentences"] for output in logging_outputs))

    def _tell_protocol(self, n_items: float) -> None:
        """No score without it: one line for each pass over a split."""
        logger.info("protocol %s | %s | %d items", self.cfg.protocol, self._validated, n_items)

    def build_criterion(self, cfg: DictConfig, from_checkpoint: bool = False):
        """Build the criterion, and remember it for `post_validate`."""
        own_class("criterion", getattr(cfg, "_name", None))
        self.check_criterion(cfg._name)
        # Under hydra the paths that it takes from the task were copied before the task resolved them.
        if isinstance(cfg, DictConfig):
            self._resolve_paths_in(cfg)
        self.criterion = super().build_criterion(cfg, from_checkpoint)
        published = sorted({*self.criterion.published(), *FAIRSEQ_FIGURES})
        if self.selects_by is not None and self.selects_by not in published:
            raise EmofairError(
                f"--best-checkpoint-metric {self.selects_by} is not a figure of a validation here",
                remedy=f"Choose one of {', '.join(published)}",
            )
        if self.selects_by is not None and self.maximizes == (self.selects_by in LOWER_IS_BETTER):
            end, word = ("highest", "without") if self.maximizes else ("lowest", "with")
            logger.warning(
                "the checkpoint with the %s %s is kept as the best one; the other way round %s "
                "--maximize-best-checkpoint-metric",
                *(end, self.selects_by, word),
            )
        return self.criterion

    def post_validate(self, model, stats, agg) -> None:
        """The end of a subset's validation during training, on every worker."""
        self.criterion.finish_validation()
        self._tell_protocol(agg["_nsentences"].sum)

    def facts(self) -> dict[str, object]:
        """What a result of this task must be reported with; stored in every checkpoint."""
        return {"protocol": str(self.cfg.protocol), "emofair": __version__}

    def state_dict(self) -> dict[str, object]:
        """State kept in the checkpoint beside the model."""
        return self.facts()

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Nothing is restored: the facts are for whoever reads the checkpoint."""

    def max_positions(self) -> None:
        """No limit: datasets cut long items, nothing is filtered silently."""
        return

    @property
    def source_dictionary(self) -> None:
        """None: inputs are audio, or ids that were made with the dictionary of a pretrained model."""
        return None

    @property
    def target_dictionary(self) -> None:
        """None: targets are labels."""
        return None
