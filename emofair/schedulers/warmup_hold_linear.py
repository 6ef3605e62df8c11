"""Linear warm-up, a flat part, linear decay to the end: the schedule of arXiv 2110.06309's pre-training stages."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from omegaconf import II

from emofair.errors import EmofairError


@dataclass
class WarmupHoldLinearConfig(FairseqDataclass):
    """Options of the schedule."""

    warmup_updates: int = field(default=100, metadata={"help": "updates in which the learning rate rises from 0"})
    warmup_ratio: Optional[float] = field(
        default=None, metadata={"help": "the same as a share of --max-update, in place of --warmup-updates"}
    )
    hold_ratio: float = field(default=0.05, metadata={"help": "share of --max-update at the full learning rate"})
    end_learning_rate: float = field(default=0.0, metadata={"help": "learning rate at --max-update"})
    max_update: int = II("optimization.max_update")
    lr: list[float] = field(default=II("optimization.lr"))


@register_lr_scheduler("warmup_hold_linear", dataclass=WarmupHoldLinearConfig)
class WarmupHoldLinear(FairseqLRScheduler):
    """After s of S updates the learning rate is lr · s/w for s < w, lr for s < w + h, then falls to the end at S.

    w are the warm-up updates and h = ⌊hold_ratio · S⌋.
    """

    def __init__(self, cfg: WarmupHoldLinearConfig, optimizer) -> None:
        super().__init__(cfg, optimizer)
        if isinstance(cfg.lr, Collection) and len(cfg.lr) > 1:
            raise EmofairError("--lr-scheduler warmup_hold_linear takes one learning rate", remedy="Give one --lr")
        self.peak = cfg.lr[0] if isinstance(cfg.lr, Collection) else cfg.lr
        self.total = cfg.max_update
        if not self.total or self.total < 1:
            raise EmofairError("--lr-scheduler warmup_hold_linear has no end", remedy="Add --max-update N")
        self.warmup = cfg.warmup_updates if cfg.warmup_ratio is None else int(cfg.warmup_ratio * self.total)
        self.hold = int(cfg.hold_ratio * self.total)
        if self.warmup < 0 or self.hold < 0 or self.warmup + self.hold > self.total:
            raise EmofairError(
                f"{self.warmup} updates of warm-up and {self.hold} at the full rate do not fit into --max-update "
                f"{self.total}",
                remedy="Lower --warmup-updates (or --warmup-ratio) or --hold-ratio",
            )
        self.step_update(0)

    def learning_rate(self, num_updates: int) -> float:
        """The learning rate of the update that follows ``num_updates`` others."""
        if num_updates < self.warmup:
            return self.peak * num_updates / self.warmup
        left = self.total - self.warmup - self.hold
        if num_updates < self.warmup + self.hold or not left:
            return self.peak
        end = self.cfg.end_learning_rate
        return end + (self.peak - end) * max(0.0, (self.total - num_updates) / left)

    def step(self, epoch, val_loss=None) -> float:
        """Nothing changes at the end of an epoch."""
        super().step(epoch, val_loss)
        return self.optimizer.get_lr()

    def step_update(self, num_updates) -> float:
        """Set the learning rate of the next update."""
        self.optimizer.set_lr(self.learning_rate(num_updates))
        return self.optimizer.get_lr()
