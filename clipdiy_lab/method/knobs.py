"""How a knob is declared: where it acts, the form of its value, the values that it takes, and what it does.

Command line, controls, sweeps and cache keys are built from that and from nothing else.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

Tier = Literal["encode", "fuse"]
"""Whether a knob touches a network (``encode``) or never does (``fuse``)."""
Place = Literal[
    "embedding", "saliency", "text", "similarity", "merged", "guide", "fused", "refined", "probability"
]  # fmt: skip
"""Where a knob acts first: what is made there, and everything that is made of it, depends on the knob."""
Form = Literal[
    "choice", "switch", "number", "optional", "count", "numbers", "size", "text", "template", "words", "phrases",
    "sides", "weights", "settled",
]  # fmt: skip
"""Form of a knob's value.

``choice`` is one of ``choices``; ``switch`` is on or off; ``number`` lies between ``min`` and ``max``; ``optional`` is
such a number or None; ``count`` a whole number; ``numbers`` several whole numbers; ``size`` height and width; ``text``
a text; ``template`` one text with the field ``{label}``, several, or the name of a set; ``words`` several texts;
``phrases`` the phrases of labels; ``sides`` a side by scale; ``weights`` a weight by grid; ``settled`` two sides in
pixels or None, which the encoder fills in: no control shows it."""
ENCODED: tuple[Place, ...] = ("embedding", "saliency")
"""Places that need a network."""


def knob(default: Any, acts_on: Place, form: Form, help: str, **meta: Any) -> Any:
    """Declare a field of `Config`.

    Parameters
    ----------
    default : object
    acts_on : Place
    form : Form
    help : str
    **meta
        ``min``, ``max``, ``step``, ``choices`` or ``suggestions``, as the form needs them, and where they apply:

        often : True
            Stands among the controls that are turned most.
        selects_from : "grids"
            Asks for some of the grids. Each grid is encoded and kept on its own, so whoever holds more serves fewer.
        left_open : object
            The value that an encoding with any other value serves.
        idle : mapping of knob to value
            It has no effect where one of these knobs has this value, which may be the knob itself.
        also_on : mapping of Place to mapping of knob to value
            Further places at which it acts, where other knobs have these values.
    """
    tier: Tier = "encode" if acts_on in ENCODED else "fuse"
    return field(default=default, metadata={"acts_on": acts_on, "tier": tier, "form": form, "help": help, **meta})
