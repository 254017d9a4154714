"""The file of `tiny`: float16, and only the token embeddings that training touched."""

from __future__ import annotations

import torch
from torch import Tensor

from clipdiy_lab.models.tiny import TOKEN_IDS, TOKEN_ROWS, TOKEN_TABLE


def pack_state(state: dict[str, Tensor], token_ids: Tensor) -> dict[str, Tensor]:
    """Return what `clipdiy_lab.models.tiny.expand_state` reads.

    Parameters
    ----------
    state : dict of Tensor
        A state whose table of token embeddings holds the rows of `token_ids` only, in this order.
    token_ids : Tensor of int
        The tokens that training used.
    """
    packed = {name: tensor.to(torch.float16).contiguous() for name, tensor in state.items() if name != TOKEN_TABLE}
    rows = state[TOKEN_TABLE].to(torch.float16).contiguous()
    return {**packed, TOKEN_IDS: token_ids.to(torch.int32), TOKEN_ROWS: rows}
