"""Muon for convolutions, beside AdamW for everything else."""

from typing import Any

import torch
from torch import Tensor, nn


class MuonAndAdamW:
    """Muon for the inner kernels, AdamW for everything else.

    Muon (K. Jordan et al., https://kellerjordan.github.io/posts/muon, 2024) replaces a matrix's
    momentum by the nearest matrix whose rows and columns are orthogonal, so that no direction
    of a layer waits for another. A kernel (out, in, k, k) counts as a matrix (out, in k k). The
    first and the last layer, biases and norms are AdamW's, as its authors advise.

    Has what a training loop uses of ``torch.optim.Optimizer``; a group's rate is the loop's times
    its entry ``times``. (``torch.optim.Muon`` takes matrices only, and computes in bfloat16 also
    where a processor has to emulate it.)

    Args:
        model: the network.
        learning_rate: of AdamW; Muon's is 15 times as large.
        dtype: that matrices are orthogonalized in, bfloat16 where the processor multiplies it.
    """

    def __init__(self, model: nn.Module, learning_rate: float, dtype: torch.dtype) -> None:
        inner = [p for p in model.parameters() if p.ndim == 4 and min(p.shape[:2]) > 8]
        ids = set(map(id, inner))
        rest = [p for p in model.parameters() if id(p) not in ids]
        self.dtype = dtype
        self.adamw = torch.optim.AdamW(rest, learning_rate, betas=(0.9, 0.98), fused=True)
        self.muon = {"params": inner, "lr": 15 * learning_rate, "times": 15, "momentum": 0.9}
        self.momenta = [torch.zeros_like(p) for p in inner]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [*self.adamw.param_groups, self.muon]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        self.adamw.zero_grad()
        for kernel in self.muon["params"]:
            kernel.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change all parameters along their gradients."""
        self.adamw.step()
        momentum = self.muon["momentum"]
        for kernel, average in zip(self.muon["params"], self.momenta, strict=True):
            average.lerp_(kernel.grad, 1 - momentum)
            update = kernel.grad.lerp(average, momentum).flatten(1)  # Nesterov's
            rows, columns = update.shape
            rate = self.muon["lr"] * max(1.0, rows / columns) ** 0.5
            kernel.add_(orthogonal(update, self.dtype).view_as(kernel), alpha=-rate)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs beside the weights."""
        return {"adamw": self.adamw.state_dict(), "momenta": self.momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.adamw.load_state_dict(state["adamw"])
        for own, saved in zip(self.momenta, state["momenta"], strict=True):
            own.copy_(saved)


def orthogonal(matrix: Tensor, dtype: torch.dtype, steps: int = 5) -> Tensor:
    """About the nearest matrix with orthogonal rows or columns, by Newton-Schulz steps.

    The quintic and its coefficients are Jordan's: singular values end between 0.7 and 1.2.

    Args:
        matrix: float (rows, columns).
        dtype: to compute in.
        steps: of the iteration.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.to(dtype)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide if x.shape[0] <= x.shape[1] else wide.T).to(matrix.dtype)
