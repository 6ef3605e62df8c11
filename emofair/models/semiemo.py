"""semiemo: robertaEMO with two ways of learning from utterances without labels.

MixMatch (Berthelot et al. 2019, arXiv 1905.02249) on the fused vectors, and UDA (Xie et al. 2019, arXiv 1904.12848).
Two views of an utterance differ in the positions that the cross-attention may look at.
"""

from dataclasses import dataclass, field
from typing import Optional

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from torch import Tensor

from emofair.errors import EmofairError
from emofair.models.robertaemo import Encoded, RobertaEMOConfig, RobertaEMOModel

METHODS = ("none", "mixmatch", "uda")
SHARPENING = 0.5
BETA = 0.75


@dataclass
class SemiEMOConfig(RobertaEMOConfig):
    """Options of robertaEMO, and those of learning without labels."""

    semisup: ChoiceEnum(METHODS) = field(
        default="none", metadata={"help": "what unlabelled utterances are used for; none: supervised only"}
    )
    aug_mask_audio: float = field(
        default=0.3, metadata={"help": "fraction of speech positions hidden from the cross-attention in a view"}
    )
    aug_mask_text: float = field(
        default=0.1, metadata={"help": "fraction of text positions hidden from the cross-attention in a view"}
    )


@register_model("semiemo", dataclass=SemiEMOConfig)
class SemiEMOModel(RobertaEMOModel):
    """robertaEMO whose training step also sees a batch without labels."""

    def __init__(self, cfg, specs) -> None:
        super().__init__(cfg, specs)
        self.semisup = str(cfg.semisup)
        self.num_updates = 0
        self.hidden_fraction = {"speech": cfg.aug_mask_audio, "text": cfg.aug_mask_text}
        for name, fraction in self.hidden_fraction.items():
            if not 0 <= fraction < 1:
                option = "--aug-mask-audio" if name == "speech" else "--aug-mask-text"
                raise EmofairError(f"{option} {fraction} is not a fraction", remedy="Give a number from 0 to below 1")
        if self.semisup != "none" and not self.stack_up:
            raise EmofairError(
                f"--semisup {self.semisup} compares views that differ in what the cross-attention sees",
                remedy="Add --stack-up",
            )

    def forward(
        self,
        net_input: Optional[dict[str, Tensor]] = None,
        *,
        unlabelled: Optional[dict[str, Tensor]] = None,
        target_probabilities: Optional[Tensor] = None,
        classification_head_name: Optional[str] = None,
        **kwargs,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As robertaEMO; with an ``unlabelled`` batch {audio, text} the second result holds more.

        ``target_probabilities`` [N, G, K]: the labels as K-way distributions, G of them per item. MixMatch adds
        ``mixup_logits`` and ``mixup_targets`` [N + 2 M, G, K], the first N rows those of the labelled items; UDA adds
        ``ori_uda_logits`` and ``aug_uda_logits`` [M, outputs].
        """
        logits, extra = super().forward(net_input, classification_head_name=classification_head_name, **kwargs)
        if unlabelled is None or self.semisup == "none":
            return logits, extra
        head = self.classification_heads[classification_head_name]
        encoded = self.encode(**unlabelled)
        if self.semisup == "uda":
            with torch.no_grad():
                extra["ori_uda_logits"] = head(self.fuse(encoded))
            extra["aug_uda_logits"] = head(self.fuse(encoded, self._hide(encoded)))
        else:
            views = [self.fuse(encoded, self._hide(encoded)) for _ in range(2)]
            extra.update(self._mix(head, extra["fused"], views, target_probabilities))
        return logits, extra

    def set_num_updates(self, num_updates: int) -> None:
        """Remember how far training is: the criterion's weights follow it."""
        super().set_num_updates(num_updates)
        self.num_updates = num_updates

    def _hide(self, encoded: dict[str, Encoded]) -> dict[str, Tensor]:
        """Positions [B, T] to hide at random; the first position always stays in sight."""
        hidden = {}
        for name, (_, padding, _) in encoded.items():
            hidden[name] = torch.rand(padding.shape, device=padding.device) < self.hidden_fraction[name]
            hidden[name][:, 0] = False
        return hidden

    def _mix(self, head, labelled: Tensor, views: list[Tensor], targets: Tensor) -> dict[str, Tensor]:
        """Mix fused vectors [., C] and their targets [., G, K] with a random partner each."""
        shape = (-1, *targets.shape[1:])
        with torch.no_grad():
            guess = torch.stack([head(view).float().view(shape).softmax(dim=-1) for view in views]).mean(dim=0)
            guess = guess ** (1 / SHARPENING)
            guess = guess / guess.sum(dim=-1, keepdim=True)
        vectors = torch.cat([labelled, *views])
        targets = torch.cat([targets.to(guess), guess, guess])
        share = torch.distributions.Beta(BETA, BETA).sample()
        share = torch.maximum(share, 1 - share).to(vectors)
        partner = torch.randperm(len(vectors), device=vectors.device)
        mixed = share * vectors + (1 - share) * vectors[partner]
        return {
            "mixup_logits": head(mixed).view(shape),
            "mixup_targets": share.float() * targets + (1 - share.float()) * targets[partner],
        }
