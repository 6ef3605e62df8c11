"""What descriptions of encoders have in common: a line of JSON, the form in which a checkpoint stores its encoder."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar

from emofair.checkpoints.layer_spec import geometry
from emofair.errors import EmofairError


class Spec:
    """Base of dataclasses that say all that is needed to build an encoder again; ``what`` names it in errors."""

    what: ClassVar[str]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str):
        """The inverse of `to_json`; unknown or missing fields are an `EmofairError`."""
        try:
            return cls(**cls.read_fields(json.loads(text)))
        except (AttributeError, json.JSONDecodeError, TypeError) as error:
            raise EmofairError(f"not the description of {cls.what}: {error}") from None

    @classmethod
    def read_fields(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the class from what the JSON holds."""
        return fields


class ConvSpec(Spec):
    """Base of descriptions whose encoders begin with ``conv_layers``, (channels, kernel, stride) each."""

    conv_layers: tuple[tuple[int, int, int], ...]

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return geometry(self.conv_layers)[0]

    @property
    def receptive_field(self) -> int:
        """Samples that one frame of the convolutions sees."""
        return geometry(self.conv_layers)[1]
