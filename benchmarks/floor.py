"""What the processor needs for the matrix products of a network alone, of its own shapes and in a precision."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

Product = tuple[int, int, int, int, bool]
"""Batch, rows, depth, columns, and whether the right side is known beforehand, as weights are."""


class Products(TorchDispatchMode):
    """Collects the shapes of all matrix products of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Note a product and compute it."""
        name = function.__name__.split(".")[0]
        if name in ("mm", "addmm"):
            left, right = arguments[-2:]
            self.found[(1, *left.shape, right.shape[-1], True)] += 1
        elif name in ("bmm", "baddbmm"):
            left, right = arguments[-2:]
            self.found[(left.shape[0], *left.shape[1:], right.shape[-1], False)] += 1
        elif "scaled_dot_product" in name:
            query = arguments[0]
            batch, heads, tokens, width = query.shape
            self.found[(batch * heads, tokens, width, tokens, False)] += 1
            self.found[(batch * heads, tokens, tokens, width, False)] += 1
        elif name == "convolution":  # patches are cut without overlap
            image, weight = arguments[:2]
            out, *kernel = weight.shape
            patches = image.shape[0] * image.shape[2] * image.shape[3] // (kernel[1] * kernel[2])
            self.found[(1, patches, int(np.prod(kernel)), out, True)] += 1
        return function(*arguments, **(options or {}))


def products(compute: Any) -> Counter[Product]:
    """Return how often which product is computed by a function."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whose products are not seen
    with Products() as seen, torch.no_grad():
        compute()
    torch.backends.mha.set_fastpath_enabled(fused)
    return seen.found


def floor(found: Counter[Product], precision: str, rounds: int = 5) -> float:
    """Seconds that the products take one after the other, each by the faster of torch and OpenVINO, at best.

    Products of two inputs, which attention has and whose results never leave the cache there, count at the rate of the
    fastest product with weights; under int8 in bf16, as they are computed.
    """
    rates = {one: _rate(one, precision, rounds) for one in found if one[-1]}
    between = max(rates.values())
    if precision == "int8":
        between = max(_rate(one, "bf16", rounds) for one in found if one[-1])
    return sum(times * _work(one) / rates.get(one, between) for one, times in found.items())


def operations(found: Counter[Product]) -> int:
    """Floating point operations of the products: additions and multiplications."""
    return sum(times * _work(one) for one, times in found.items())


def _work(product: Product) -> int:
    batch, rows, depth, columns, _ = product
    return 2 * batch * rows * depth * columns


def _rate(product: Product, precision: str, rounds: int) -> float:
    ways = [] if precision == "int8" else [_by_torch(product, precision)]
    by_openvino = _by_openvino(product, precision)
    ways += [by_openvino] if by_openvino is not None else []
    return _work(product) / min(_fastest(way, rounds) for way in ways)


def _fastest(way: Any, rounds: int) -> float:
    took = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        way()
        took.append(time.perf_counter() - start)
    return min(took)


def _by_torch(product: Product, precision: str) -> Any:
    _, rows, depth, columns, _ = product
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    left, right = torch.randn(rows, depth).to(dtype), torch.randn(depth, columns).to(dtype)
    return lambda: left @ right


def _by_openvino(product: Product, precision: str) -> Any:
    try:
        import openvino
        from openvino import opset13 as ov
    except ImportError:
        return None
    _, rows, depth, columns, _ = product
    random = np.random.default_rng(0)
    left = ov.parameter([rows, depth], np.float32)
    if precision == "int8":
        weights = ov.constant(random.integers(-127, 128, (columns, depth)).astype(np.int8))
        scaled = ov.multiply(ov.convert(weights, np.float32), ov.constant(np.full((columns, 1), 0.01, np.float32)))
        low, high = (ov.constant(np.float32(bound)) for bound in (-4, 4))
        result = ov.matmul(ov.fake_quantize(left, low, high, low, high, 256), scaled, False, True)
    else:
        weights = ov.constant(random.standard_normal((columns, depth), dtype=np.float32))
        result = ov.matmul(left, weights, False, True)
    hint = {"INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16"}
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    network = openvino.Core().compile_model(openvino.Model([result], [left], "product"), "CPU", hint | threads)
    values = random.standard_normal((rows, depth), dtype=np.float32)
    return lambda: network([values])
