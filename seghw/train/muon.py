"""Muon for convolutions: torch's optimizer for matrices, applied to kernels laid out flat."""

from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon


class MuonAndAdamW:
    """Muon for the inner kernels, AdamW for everything else.

    Muon (K. Jordan et al., https://kellerjordan.github.io/posts/muon, 2024) replaces a matrix's
    momentum by the nearest matrix whose rows and columns are orthogonal, so that no direction
    of a layer waits for another. A kernel (out, in, k, k) counts as a matrix (out, in k k). The
    first and the last layer, biases and norms are AdamW's, as its authors advise.

    Has what the trainer uses of ``torch.optim.Optimizer``; a group's rate is the trainer's times
    its entry ``times``.
    """

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        inner = [p for p in model.parameters() if p.ndim == 4 and min(p.shape[:2]) > 8]
        self.kernels = inner
        self.matrices = [nn.Parameter(p.detach().flatten(1).clone()) for p in inner]
        ids = set(map(id, inner))
        rest = [p for p in model.parameters() if id(p) not in ids]
        self.muon = Muon(self.matrices, learning_rate, weight_decay=0.0, momentum=0.9)
        self.adamw = AdamW(rest, learning_rate, betas=(0.9, 0.98), fused=True)
        self.muon.param_groups[0]["times"] = 15

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.adamw.param_groups + self.muon.param_groups

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        self.adamw.zero_grad()
        for kernel in self.kernels:
            kernel.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change all parameters along their gradients."""
        self.adamw.step()
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.copy_(kernel.flatten(1))
            matrix.grad = kernel.grad.flatten(1)
        self.muon.step()
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            kernel.copy_(matrix.view_as(kernel))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs beside the weights."""
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.adamw.load_state_dict(state["adamw"])
        self.muon.load_state_dict(state["muon"])
