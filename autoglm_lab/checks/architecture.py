"""Checks of chapter 01."""

from __future__ import annotations

from autoglm_lab.checks.exercise import Exercise


def attention_parameters(width: int, heads: int, kv_heads: int, head_dim: int) -> int:
    """Weights of a grouped-query attention without biases: q and o for every head, k and v for every group."""
    return 2 * width * heads * head_dim + 2 * width * kv_heads * head_dim


def _no_groups(width: int, heads: int, kv_heads: int, head_dim: int) -> int:
    return 4 * width * heads * head_dim


def _no_output(width: int, heads: int, kv_heads: int, head_dim: int) -> int:
    return width * heads * head_dim + 2 * width * kv_heads * head_dim


def _one_kv(width: int, heads: int, kv_heads: int, head_dim: int) -> int:
    return 2 * width * heads * head_dim + width * kv_heads * head_dim


def _biases(width: int, heads: int, kv_heads: int, head_dim: int) -> int:
    return attention_parameters(width, heads, kv_heads, head_dim) + heads * head_dim + 2 * kv_heads * head_dim + width


def _square(width: int, heads: int, kv_heads: int, head_dim: int) -> int:
    return 2 * width * width + 2 * width * kv_heads * head_dim


def _one_head(width: int, heads: int, kv_heads: int, head_dim: int) -> int:
    return 4 * width * head_dim


def conv_macs(inputs: int, outputs: int, kernel: int, height: int, width: int, stride: int) -> int:
    """Multiply-accumulates of a padded convolution on an input of height x width."""
    return inputs * outputs * kernel**2 * (height // stride) * (width // stride)


def _full_size(inputs: int, outputs: int, kernel: int, height: int, width: int, stride: int) -> int:
    return inputs * outputs * kernel**2 * height * width


def _stride_once(inputs: int, outputs: int, kernel: int, height: int, width: int, stride: int) -> int:
    return inputs * outputs * kernel**2 * height * width // stride


def _kernel_once(inputs: int, outputs: int, kernel: int, height: int, width: int, stride: int) -> int:
    return inputs * outputs * kernel * (height // stride) * (width // stride)


def _flops(inputs: int, outputs: int, kernel: int, height: int, width: int, stride: int) -> int:
    return 2 * conv_macs(inputs, outputs, kernel, height, width, stride)


def _one_input(inputs: int, outputs: int, kernel: int, height: int, width: int, stride: int) -> int:
    return outputs * kernel**2 * (height // stride) * (width // stride)


def _weights_only(inputs: int, outputs: int, kernel: int, height: int, width: int, stride: int) -> int:
    return inputs * outputs * kernel**2


EXERCISES = (
    Exercise(
        "01.attention",
        attention_parameters,
        (
            (_no_groups, "that gives every head its own key and value; here several heads share one: use kv_heads for k and v."),
            (_no_output, "the output projection is missing: it takes heads * head_dim back to the width."),
            (_one_kv, "keys and values are two projections, each of width x kv_heads * head_dim."),
            (_biases, "you counted biases; these projections have none."),
            (_square, "the heads need not fill the width: q and o are width x heads * head_dim."),
            (_one_head, "that is one head; multiply by the number of heads (q, o) or of groups (k, v)."),
        ),
        ((512, 8, 2, 64), (512, 8, 8, 64), (96, 4, 1, 32)),
        "so grouping saves parameters; and later, in the cache, it saves far more memory.",
    ),
    Exercise(
        "01.conv",
        conv_macs,
        (
            (_full_size, "the output is smaller than the input: each side is divided by the stride."),
            (_stride_once, "the stride shrinks both sides, so the work falls with its square."),
            (_kernel_once, "a kernel of 3 looks at 3 x 3 pixels: square it."),
            (_flops, "that counts multiplications and additions apart; a MAC is one of each."),
            (_one_input, "every output channel looks at every input channel: multiply by the inputs."),
            (_weights_only, "those are the weights; each is used once for every output pixel."),
        ),
        ((3, 32, 3, 224, 224, 2), (96, 96, 3, 28, 28, 1), (16, 24, 5, 32, 48, 4)),
        "now you see why the first, large layers of a CNN cost so much with so few weights.",
    ),
)
