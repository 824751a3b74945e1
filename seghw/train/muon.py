"""Muon for convolutions, beside AdamW for everything else."""

import torch
from torch import Tensor, nn


class MuonAndAdamW(torch.optim.AdamW):
    """Muon for the inner kernels, AdamW for everything else.

    Muon (K. Jordan et al., https://kellerjordan.github.io/posts/muon, 2024) replaces a matrix's
    momentum by the nearest matrix whose rows and columns are orthogonal, so that no direction
    of a layer waits for another. A kernel (a, b, k, k) counts as a matrix (a, b k k). The first
    and the last layer, biases and norms are AdamW's, as its authors advise; Muon's kernels have no
    weight decay. (torch's own Muon takes matrices only, and computes in bfloat16 also where a
    processor has to emulate it.)

    Muon's rate is 15 times AdamW's: a loop multiplies the rate by a group's ``times``. Matrices are
    orthogonalized in ``dtype``, bfloat16 where the processor multiplies it.
    """

    def __init__(self, model: nn.Module, learning_rate: float, dtype: torch.dtype) -> None:
        inner = [p for p in model.parameters() if p.ndim == 4][1:-1]
        rest = [p for p in model.parameters() if not any(p is kernel for kernel in inner)]
        super().__init__(rest, learning_rate, betas=(0.9, 0.98), fused=True)
        self.add_param_group({"params": inner, "lr": 15 * learning_rate, "times": 15})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """Change all parameters along their gradients; the inner kernels' are used up."""
        muon = self.param_groups[1]
        for kernel in (k for k in muon["params"] if k.grad is not None):
            state = self.state[kernel]
            if not state:  # by AdamW's names, which loads it from a checkpoint
                state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(kernel)}
            average = state["exp_avg"].lerp_(kernel.grad, 0.1)
            update = kernel.grad.lerp(average, 0.9).flatten(1)  # Nesterov's
            rows, columns = update.shape
            rate = muon["lr"] * max(1.0, rows / columns) ** 0.5
            kernel.add_(orthogonal(update, self.dtype).view_as(kernel), alpha=-rate)
            kernel.grad = None  # AdamW passes over what has none
        super().step()


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """About the nearest matrix with orthogonal rows or columns, by five Newton-Schulz steps.

    The quintic and its coefficients are Jordan's: singular values end between 0.7 and 1.2.
    """
    x = matrix.to(dtype)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = wide @ wide.T
        polynomial = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        wide = torch.addmm(wide, polynomial, wide, beta=3.4445)
    return (wide if x.shape[0] <= x.shape[1] else wide.T).to(matrix.dtype)
