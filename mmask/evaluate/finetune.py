"""finetune: the encoder and a linear head, end to end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.errors import RecipeError, UsageError
from mmask.evaluate.goal import Goal
from mmask.keyed import fold, seeded_scope
from mmask.protocols import Subject
from mmask.recipe.schema import OptimSection
from mmask.train.optim import make_optimizer, set_lr
from mmask.train.seed import seed_model
from mmask.types import Batch, Labelled, Verdict

WORTH = "label.scores"


class FineTune:
    """AdamW with layer-wise lr decay, half a cosine after warm-up, on the recipe's own augmented samples.

    After He et al. 2022, table 9 (base lr 5e-4 for 256 samples, weight decay 0.05, 100 epochs with 5 of warm-up;
    for ViT-B layer decay 0.65, drop path 0.1, mixup 0.8, cutmix 1.0, label smoothing 0.1). What regularises is
    off unless asked for: on small sets and short courses it costs more than it gives.

    epochs, warmup: passes, and those of warm-up. batch: samples of a step. base_lr: at 256 samples a step; lr: the
    peak itself, which wins. weight_decay: of matrices. layer_decay: factor of the learning rate from each layer to
    the one below; None takes 0.75 where timm knows the encoder's layers, else 1. clip: largest gradient norm.
    drop_path: set on the encoder, which must have that option. mixup, cutmix: alphas of timm's Mixup, 0 for off;
    they mix the only field of the batch that is (B, C, H, W), or ``field``. smoothing: of labels. Labels that are
    tables of scores are learnt as such (`Goal.loss`), and the verdict says what the answers are worth.
    """

    wants = "network"

    def __init__(
        self, *, epochs: int = 50, warmup: int = 5, batch: int = 64, base_lr: float = 5e-4, lr: float | None = None,
        weight_decay: float = 0.05, layer_decay: float | None = None, clip: float | None = None,
        drop_path: float | None = None, mixup: float = 0.0, cutmix: float = 0.0, smoothing: float = 0.0,
        field: str = "",
    ) -> None:
        if epochs < 1 or batch < 1 or warmup < 0:
            raise RecipeError(f"finetune needs epochs >= 1, batch >= 1, warmup >= 0; got {epochs}, {batch}, {warmup}")
        if (mixup or cutmix) and batch % 2:
            raise RecipeError(f"mixup and cutmix pair the samples of a batch: {batch} is odd", hint="use batch=64")
        self.epochs, self.warmup, self.batch, self.clip = epochs, min(warmup, epochs / 2), batch, clip
        self.lr = lr if lr is not None else base_lr * batch / 256
        self.weight_decay, self.layer_decay, self.drop_path = weight_decay, layer_decay, drop_path
        self.mixup, self.cutmix, self.smoothing, self.field = mixup, cutmix, smoothing, field

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        """(M, C) logits, or (M, 1) numbers, of the last weights; nothing is chosen on the test samples."""
        subject, rows = fit.subject, fit.rows
        assert subject is not None and rows is not None and test.subject is not None and test.rows is not None
        with seeded_scope(fold(seed, "finetune")), torch.enable_grad():
            module = self._module(subject, fit.outputs)
            optimizer, decay = self._optimizer(module)
            loss = self._learn(module, optimizer, subject, fit, seed)
            scores, labels, ids, worth = _predict(module.eval(), test.subject, test.rows, self.batch)
        about = {
            "lr": self.lr, "epochs": self.epochs, "layer_decay": decay, "last_loss": round(loss, 5),
            "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        }
        return Verdict(Goal.of(fit).scores(scores), about, ids, labels, worth=worth)

    def _module(self, subject: Subject, classes: int) -> nn.Module:
        options = {} if self.drop_path is None else {"drop_path": self.drop_path}
        network, width = self._network(subject, options)
        head = nn.Linear(width, classes)
        nn.init.trunc_normal_(head.weight, std=2e-5)
        nn.init.zeros_(head.bias)
        kind = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
        return nn.Sequential(network, head.to(subject.device, kind))

    def _network(self, subject: Subject, options: Mapping[str, Any]) -> tuple[nn.Module, int]:
        """What the head stands on, batch -> (B, width), and its width."""
        return subject.network(**options), subject.width

    def _optimizer(self, module: nn.Module) -> tuple[torch.optim.Optimizer, float]:
        decay = self.layer_decay
        if decay is None:
            decay = 0.75 if any(hasattr(part, "group_matcher") for part in module.modules()) else 1.0
        section = OptimSection(
            lr=self.lr, weight_decay=self.weight_decay, layer_decay=decay if decay < 1 else None
        )
        return make_optimizer(module, section, self.lr), decay

    def _learn(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, subject: Subject, fit: Labelled, seed: int
    ) -> float:
        """-> the mean loss of the last epoch."""
        assert fit.rows is not None
        mix, goal = self._mixer(fit.classes), Goal.of(fit)
        size = min(self.batch, len(fit) - len(fit) % 2 if mix is not None else len(fit))
        if not size:
            raise UsageError("mixup and cutmix need two training samples", hint="give more labels, or mixup=0 cutmix=0")
        steps, losses = -(-self.epochs * len(fit) // size), []
        module.train()
        for number, batch in enumerate(subject.train(fit.rows, batch=size, epochs=self.epochs, seed=seed)):
            seed_model(seed, number, 0, 0)
            set_lr(optimizer, self.lr * self._share(number / steps))
            batch, truth = self._mixed(mix, batch, subject)
            worth = batch.fields.get(WORTH) if mix is None else None
            loss = goal.loss(module(batch).float(), truth, 0.0 if mix is not None else self.smoothing, worth)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(module.parameters(), self.clip)
            optimizer.step()
            losses.append(float(loss.detach()))
        last = losses[-max(1, len(losses) // self.epochs) :]
        return sum(last) / len(last)

    def _share(self, done: float) -> float:
        warm = self.warmup / self.epochs
        return done / warm if done < warm else 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1 - warm, 1e-9)))

    def _mixer(self, classes: int) -> Any:
        if not self.mixup and not self.cutmix:
            return None
        from timm.data import Mixup

        return Mixup(
            mixup_alpha=self.mixup, cutmix_alpha=self.cutmix, label_smoothing=self.smoothing, num_classes=classes
        )

    def _mixed(self, mix: Any, batch: Batch, subject: Subject) -> tuple[Batch, Tensor]:
        """The batch, and the truth of what the network answers: (B,), (S,) of units, or shares (B, C)."""
        labels = subject.truth(batch)
        if mix is not None and len(labels) != len(batch):
            raise RecipeError("mixup and cutmix mix samples: there is one label a sample then", hint="leave them at 0")
        if mix is None:
            return batch, labels
        if len(batch) % 2:  # the last batch of the course
            shares = F.one_hot(labels, mix.num_classes).float() * (1 - mix.label_smoothing)
            return batch, shares + mix.label_smoothing / mix.num_classes
        name = self.field or _map_field(batch)
        whole = batch[name].dtype
        values, shares = mix(batch[name].float(), labels)
        if not whole.is_floating_point:  # raw bytes stay bytes, since the tokenizer goes by their type
            values = values.round().to(whole)
        return batch.with_field(name, values.to(whole)), shares


def _map_field(batch: Batch) -> str:
    found = [name for name, value in batch.fields.items() if isinstance(value, Tensor) and value.ndim == 4]
    if len(found) != 1:
        raise RecipeError(
            f"mixup and cutmix need one field of maps (B, C, H, W); this batch has {found or 'none'}",
            hint="name it with field=NAME, or leave mixup and cutmix at 0",
        )
    return found[0]


@torch.no_grad()
def _predict(
    module: nn.Module, subject: Subject, rows: Tensor, batch: int
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    scores, labels, ids, worth = [], [], [], []
    for one in subject.stored(rows, batch=batch):
        scores.append(module(one).float().cpu())
        labels.append(subject.truth(one).cpu())
        ids.append(torch.from_numpy(one.ids.view("int64").copy()))
        worth += [one[WORTH].cpu()] if WORTH in one.fields else []
    return torch.cat(scores), torch.cat(labels), torch.cat(ids), torch.cat(worth) if worth else None
