"""Codebook: vectors of unit length that follow the latents they stand for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import fold, single

_PART = 32  # at most this part of the codes is revived by one update


class Codebook(nn.Module):
    """Nearest code by cosine, straight-through gradient, codes that are moving averages of their latents.

    codes: how many. width: channels of a code. decay: of the averages. dead: a code is dead when its average
    use falls below this share of the use it would have if all were used alike; it is then put on a latent of
    the batch that is badly represented. All codes start dead, so the first batches fill the codebook.

    Both sides have unit length (Yu et al. 2021, ViT-VQGAN); the averages are those of BEiT v2 (Peng et al. 2022),
    the revival that of SoundStream (Zeghidour et al. 2021), with a draw keyed by the number of updates made.
    Codes are buffers: no optimizer touches them. In training mode each forward pass is one update over all
    ranks, so a step cut into micro-batches makes several.
    """

    codes: Tensor
    use: Tensor
    updates: Tensor

    def __init__(self, codes: int, width: int, *, decay: float = 0.99, dead: float = 0.03) -> None:
        super().__init__()
        self.count, self.decay, self.dead = codes, decay, dead
        self.register_buffer("codes", torch.empty(codes, width))
        self.register_buffer("use", torch.empty(codes))
        self.register_buffer("updates", torch.empty((), dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random directions, none in use."""
        nn.init.normal_(self.codes)
        self.codes.copy_(F.normalize(self.codes, dim=1))
        nn.init.zeros_(self.use)
        nn.init.zeros_(self.updates)

    def nearest(self, latents: Tensor) -> Tensor:
        """Ids of the codes with the largest cosine. latents: (M, width) -> (M,) int64."""
        return (latents @ self.codes.to(latents.dtype).T).argmax(1)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """(M, width) latents of unit length -> (their codes, (M,) ids). In training mode the codes are then
        updated, after use: what is returned belongs to the codes before."""
        ids = self.nearest(latents.detach())
        chosen = self.codes[ids].to(latents.dtype)
        if self.training and torch.is_grad_enabled() and not latents.is_meta:
            self._update(latents.detach().to(self.codes.dtype), ids)
        return chosen, ids

    @torch.no_grad()
    def _update(self, latents: Tensor, ids: Tensor) -> None:
        used = torch.zeros_like(self.use).index_add_(0, ids, latents.new_ones(len(ids)))
        sums = torch.zeros_like(self.codes).index_add_(0, ids, latents)
        alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
        if not alone:
            torch.distributed.all_reduce(used)
            torch.distributed.all_reduce(sums)
        self.use.lerp_(used, 1 - self.decay)
        seen = used[:, None] > 0
        moved = F.normalize(torch.lerp(self.codes, F.normalize(sums, dim=1), 1 - self.decay), dim=1)
        self.codes.copy_(torch.where(seen, moved, self.codes))
        self._revive(latents, float(used.sum()) / self.count)
        if not alone:  # latents differ between ranks: the first rank's are everybody's
            torch.distributed.broadcast(self.codes, 0)
            torch.distributed.broadcast(self.use, 0)
        self.updates += 1

    def _revive(self, latents: Tensor, fair: float) -> None:
        """Put dead codes on latents of this batch, each on another one, with a fair use to start from.

        A latent is drawn with a chance that grows with its squared distance to its code, as in k-means++, and
        only a few codes come back at a time, so that the next ones see what is covered by then: a plain
        background, however frequent, is not cut into many codes that differ by noise.
        """
        most = min(max(1, self.count // _PART), len(latents))
        least = self.use.argsort(stable=True)[:most]
        gone = least[self.use[least] < self.dead * fair]
        if not len(gone):
            return
        numbers = single(0, fold("codebook"), int(self.updates)).uniform("revive", len(latents))[0]
        chance = torch.from_numpy(numbers).to(latents.device).clamp(1e-12, 1 - 1e-12)
        error = (1 - (latents @ self.codes.T).amax(1)).clamp_min(1e-6).double()
        score = error.log() - (-chance.log()).log()  # Gumbel: the largest are a draw without replacement
        picked = score.topk(len(gone)).indices
        self.codes[gone] = latents[picked]
        self.use[gone] = fair
