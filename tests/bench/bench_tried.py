"""What might make a training step faster, each tried on a copy of the same network."""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seghw.network import MUNet
from tests.bench.harness import Result, sgd_step

Step = Callable[[], Tensor]


class FlippedConvolution(nn.Module):
    """The convolution that equals a transposed one of stride 1: same weights, flipped and turned.

    Args:
        transposed: of stride 1, dilation 1 and one group.
    """

    def __init__(self, transposed: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.weight, self.bias = transposed.weight, transposed.bias  # (in, out, k, k), (out,)
        self.padding = [
            k - 1 - p for k, p in zip(transposed.kernel_size, transposed.padding, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """float (N, in, H, W) to what the transposed convolution gives."""
        weight = self.weight.flip(2, 3).transpose(0, 1)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


def flip_transposed(net: nn.Module) -> nn.Module:
    """Put a ``FlippedConvolution`` in place of every 3 x 3 transposed convolution of stride 1."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ConvTranspose2d) and child.stride == (1, 1):
                setattr(module, name, FlippedConvolution(child))
    return net


def _contiguous(net: MUNet, x: Tensor, target: Tensor) -> Step:
    return sgd_step(net.to(memory_format=torch.contiguous_format), x.contiguous(), target)


def _flipped(net: MUNet, x: Tensor, target: Tensor) -> Step:
    return sgd_step(flip_transposed(net), x, target)


def _compiled(net: MUNet, x: Tensor, target: Tensor) -> Step:
    return sgd_step(torch.compile(net), x, target)


def _fused(net: MUNet, x: Tensor, target: Tensor) -> Step:
    return sgd_step(net, x, target, fused=True)


def _half_the_threads(net: MUNet, x: Tensor, target: Tensor) -> Step:
    step = sgd_step(net, x, target)
    threads = torch.get_num_threads()

    def with_half() -> Tensor:
        if threads < 2:
            raise RuntimeError("there is only one thread")
        torch.set_num_threads(threads // 2)
        try:
            return step()
        finally:
            torch.set_num_threads(threads)

    return with_half


def _no_denormals(net: MUNet, x: Tensor, target: Tensor) -> Step:
    step = sgd_step(net, x, target)

    def flushed() -> Tensor:
        torch.set_flush_denormal(True)
        try:
            return step()
        finally:
            torch.set_flush_denormal(False)

    return flushed


#: The base is ``channels_last``, eager, torch's default SGD, all threads.
TRIED: dict[str, Callable[[MUNet, Tensor, Tensor], Step]] = {
    "contiguous, not channels_last": _contiguous,
    "convolutions for transposed ones": _flipped,
    "torch.compile": _compiled,
    "fused optimizer": _fused,
    "half as many threads": _half_the_threads,
    "denormals flushed to zero": _no_denormals,
}


def tried_steps(
    net: MUNet, x: Tensor, target: Tensor, names: Sequence[str]
) -> tuple[dict[str, Step], list[str], list[Result]]:
    """Steps to time, what could not be tried here and why, and how far the losses differ.

    Args:
        net: the base, channels_last; it is left as it is.
        x: inputs, channels_last.
        target: of the MSE.
        names: keys of ``TRIED``.
    """
    steps, failures, differences = {}, [], []
    base = sgd_step(copy.deepcopy(net), x, target)().item() if names else 0.0
    for name in names:
        step = TRIED[name](copy.deepcopy(net), x, target)
        try:
            loss = step().item()
        except (RuntimeError, OSError) as error:  # torch.compile without a C++ compiler
            reason = " ".join(str(error).split())[:100]
            failures.append(f"{name}: not possible here ({reason})")
            continue
        steps[f"tried: {name}"] = step
        differences.append(abs(loss - base) / base)
    checked = "tried: relative difference of the first losses"
    return steps, failures, [Result(checked, max(differences), at_most=1e-4)] if steps else []
