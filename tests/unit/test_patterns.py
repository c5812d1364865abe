"""Sparse attention gives what the masked full matrix gives, and never makes that matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autoglm_lab.model.patterns import Pattern, allowed, attend


def three(tokens: int, seed: int = 0, heads: int = 2, width: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, heads, tokens, width, generator=generator) for _ in range(3)]


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(1, 70), reach=st.integers(1, 80), pattern=st.sampled_from(("window", "strided")))
def test_it_is_the_masked_full_matrix(tokens: int, reach: int, pattern: Pattern) -> None:
    query, key, value = three(tokens, seed=tokens)
    wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed(tokens, pattern, reach))
    torch.testing.assert_close(attend(query, key, value, pattern, reach), wanted, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 2, 9, 10, 50])
def test_the_default_stride_is_the_square_root(tokens: int) -> None:
    query, key, value = three(tokens)
    wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed(tokens, "strided"))
    torch.testing.assert_close(attend(query, key, value, "strided"), wanted, atol=2e-6, rtol=1e-5)
    assert allowed(tokens, "strided").sum(1).max() <= 2 * (int((tokens - 1) ** 0.5) + 1)


def test_dense_sees_all_before() -> None:
    query, key, value = three(12)
    wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed(12))
    torch.testing.assert_close(attend(query, key, value), wanted)


def test_gradients_are_those_of_the_masked_matrix() -> None:
    mine, theirs = three(21), three(21)
    for x in (*mine, *theirs):
        x.requires_grad_()
    attend(*mine, "strided", 4).square().sum().backward()
    F.scaled_dot_product_attention(*theirs, attn_mask=allowed(21, "strided", 4)).square().sum().backward()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return made


@pytest.mark.parametrize(("pattern", "reach", "most"), [("window", 16, 1.05), ("strided", None, 1.6)])
def test_memory_grows_with_what_is_seen(pattern: Pattern, reach: int | None, most: float) -> None:
    largest = {}
    for tokens in (512, 2048):
        with Largest() as seen:
            attend(*three(tokens, heads=1), pattern, reach)
        largest[tokens] = seen.numbers
    assert largest[2048] < 2048**2 / 4
    assert largest[2048] / largest[512] <= 4**most


@pytest.mark.parametrize(
    ("pattern", "reach", "said"),
    [("windows", 4, "dense, window, strided"), ("window", None, "needs a reach"), ("strided", 0, "at least itself")],
)
def test_what_cannot_be_is_named(pattern: Pattern, reach: int | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        attend(*three(6), pattern, reach)
    with pytest.raises(ValueError, match=said):
        allowed(6, pattern, reach)
