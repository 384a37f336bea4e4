"""How far the masks of a graph agree with those of another."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """How far the masks of two pairs agree, for one kind of prompt.

    Attributes:
        prompts: the kind of prompt.
        masks: how many masks were compared.
        mean_iou: mean intersection over union.
        low_iou: that below which the worst twentieth lies.
        score_error: mean difference of the predicted IoU.
    """

    prompts: str
    masks: int
    mean_iou: float
    low_iou: float
    score_error: float


@dataclass(frozen=True)
class Comparison:
    """The outcome: a row for each kind of prompt, and one of all masks.

    Attributes:
        rows: the kinds of prompts.
        overall: all of them together.
        embedding_error: root mean square of the difference, relative to the embedding's.
        pictures: how many there were.
    """

    rows: Sequence[Agreement]
    overall: Agreement
    embedding_error: float
    pictures: int
