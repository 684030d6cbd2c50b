"""ctc: an encoder and a linear layer on transcribed speech, judged by word and character errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import Batch, DataError, Encoded, Labelled, LayerSum, RecipeError, Verdict, fold, seeded_scope
from mmask_audio.ctc.alphabet import BLANK, Alphabet, frames_needed, plain
from mmask_audio.steps import WHOLE, steps
from mmask_audio.transcript import TranscriptDecoder

_SHOWN = 5


class CtcTune:
    """Fine-tuning with connectionist temporal classification over the characters of the transcripts.

    Baevski et al. 2020: a linear layer on the last states, the convolutions stay as they are, only the layer learns at
    first, and the rate rises, stays and decays over 10, 40 and 50 % of the steps. SUPERB's probes are the same with
    ``freeze=all layers=weighted``. Decoding is greedy, without a language model.

    freeze: what of the run never learns: ``front`` (modules in front of the encoder), ``all``, or ``nothing``.
    head_first: share of the steps in which only the linear layer (and the weights of layers) learns. layers: the
    ``last`` states, or a ``weighted`` sum of all layers. epochs, batch: passes, and recordings of a step. lr, head_lr:
    peaks for the encoder and for what is new. warmup, hold: shares of the steps; the rest decays exponentially to 5 %.
    weight_decay: decoupled. clip: largest gradient norm. dropout: in front of the linear layer. hide: a view of the run
    that training sees in place of the whole, such as ``masked``: wav2vec 2.0 hides spans while it is tuned too.
    transcript: the text part of a sample, or ``json.<key>``.

    Case and punctuation are not asked for. Metrics: ``wer`` and ``cer``, edits over words and characters of all test
    recordings; a character that training never saw is an error.
    """

    wants = "samples"

    def __init__(
        self, *, freeze: Literal["front", "all", "nothing"] = "front", head_first: float = 0.1,
        layers: Literal["last", "weighted"] = "last", epochs: int = 50, batch: int = 16, lr: float = 1e-4,
        head_lr: float = 1e-3, warmup: float = 0.1, hold: float = 0.4, weight_decay: float = 0.0,
        clip: float | None = 5.0, dropout: float = 0.1, hide: str = "clean",
        transcript: str = "txt",
    ) -> None:
        if epochs < 1 or batch < 1 or min(head_first, warmup, hold) < 0 or warmup + hold > 1 or head_first > 1:
            raise RecipeError(
                f"ctc needs epochs >= 1, batch >= 1 and shares of the steps; got {epochs}, {batch}, head_first "
                f"{head_first}, warmup {warmup}, hold {hold}"
            )
        if freeze == "all" and hide != "clean":
            raise RecipeError("a network that never learns is shown everything", hint="leave hide, or freeze=front")
        self.freeze, self.head_first, self.layers, self.hide = freeze, head_first, layers, hide
        self.epochs, self.batch, self.lr, self.head_lr = epochs, batch, lr, head_lr
        self.warmup, self.hold, self.weight_decay, self.clip = warmup, hold, weight_decay, clip
        self.dropout, self.transcript = dropout, transcript

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        """``wer`` and ``cer`` of the last weights; nothing is chosen on the test samples."""
        assert fit.subject is not None and test.subject is not None and fit.rows is not None and test.rows is not None
        text = {"transcript": TranscriptDecoder(part=self.transcript)}
        bare = fit.subject.decoding({}, text, alone=True)
        read = (batch["transcript"] for batch in bare.stored(fit.rows, batch=64))
        alphabet = Alphabet.of(plain(one) for batch in read for one in batch)
        ours, theirs = (one.decoding(WHOLE, text) for one in (fit.subject, test.subject))
        with seeded_scope(fold(seed, "ctc")), torch.enable_grad():
            model = self._model(ours, alphabet)
            about = self._learn(model, alphabet, ours, fit, seed)
        pairs = list(_hear(model.eval(), alphabet, theirs.stored(test.rows, batch=self.batch)))
        shown = [{"said": said, "heard": heard} for said, heard in pairs[:_SHOWN]]
        about |= {"characters": len(alphabet) - 1, "recordings": len(pairs), "examples": shown}
        if model.sum is not None:
            about["layers"] = model.sum.shares()
        return Verdict(None, about, numbers=errors(pairs))

    def _model(self, subject: Any, alphabet: Alphabet) -> CtcModel:
        taps = subject.layer_taps() if self.layers == "weighted" else ()
        network = subject.encoder(taps=taps, view=self.hide)
        if self.freeze == "all":
            network.requires_grad_(False)
        elif self.freeze == "front":
            network.front_ends.requires_grad_(False)
        made = CtcModel(network, subject.width, len(alphabet), taps, self.dropout, still=self.freeze == "all")
        kind = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
        return made.to(subject.device, kind)

    def _learn(self, model: CtcModel, alphabet: Alphabet, subject: Any, fit: Labelled, seed: int) -> dict[str, Any]:
        new = [p for name, p in model.named_parameters() if not name.startswith("network.")]
        old = [p for p in model.network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": new, "peak": self.head_lr}]
        groups += [{"params": old, "peak": self.lr}] if old else []
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=self.weight_decay)
        assert fit.rows is not None
        steps = math.ceil(self.epochs * len(fit.rows) / self.batch)
        impossible, last = 0, 0.0
        model.train()
        for step, batch in enumerate(subject.train(fit.rows, batch=self.batch, epochs=self.epochs, seed=seed)):
            model.held = step < self.head_first * steps  # no gradient reaches the network, so it stands still
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self.course(step / steps)
            loss, lost = ctc_loss(model, alphabet, batch)
            impossible += lost
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], self.clip)
            optimizer.step()
            last = float(loss.detach())
        return {
            "epochs": self.epochs, "lr": self.lr, "head_lr": self.head_lr, "freeze": self.freeze, "steps": steps,
            "last_loss": round(last, 4), "too_short": impossible,
            "parameters": sum(p.numel() for p in (*new, *old)),
        }

    def course(self, done: float) -> float:
        """The factor of the learning rate after a share of the steps."""
        if done < self.warmup:
            return (done + 1e-3) / (self.warmup + 1e-3)
        left = 1 - self.warmup - self.hold
        past = max(0.0, done - self.warmup - self.hold)
        return 0.05 ** (past / left) if left > 0 else 1.0


class CtcModel(nn.Module):
    """An encoder's states, or a sum of its layers, dropout, a linear layer to the alphabet.

    network: batch -> `Encoded`. still: it never learns. held: it does not learn now.
    """

    def __init__(
        self, network: nn.Module, width: int, letters: int, taps: tuple[str, ...], dropout: float, *, still: bool
    ) -> None:
        super().__init__()
        self.network, self.taps, self.still, self.held = network, taps, still, False
        self.sum = LayerSum(len(taps)) if taps else None
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(width, letters)

    def train(self, mode: bool = True) -> CtcModel:
        """A network that never learns stays in evaluation mode."""
        super().train(mode)
        if self.still:
            self.network.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, N, letters) logits and (B,) frames. Raises DataError as `steps` does."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.still or self.held)):
            encoded: Encoded = self.network(batch)
        layers, frames = steps(encoded, batch, self.taps)
        states = layers[0] if self.sum is None else self.sum(layers)
        return self.out(self.dropout(states)), frames


def ctc_loss(model: CtcModel, alphabet: Alphabet, batch: Batch) -> tuple[Tensor, int]:
    """Nats for each character, and how many recordings had too few frames to say their transcript (they count 0)."""
    logits, frames = model(batch)
    ids = [alphabet.encode(plain(one)) for one in batch["transcript"]]
    sizes = torch.tensor([len(one) for one in ids])
    lost = sum(frames_needed(one) > int(count) for one, count in zip(ids, frames.tolist(), strict=True))
    shares = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1).transpose(0, 1)
    total = F.ctc_loss(
        shares, torch.cat(ids).to(shares.device), frames, sizes, blank=BLANK, reduction="sum", zero_infinity=True
    )
    return total / max(1, int(sizes.sum())), lost


@torch.no_grad()
def _hear(model: CtcModel, alphabet: Alphabet, batches: Iterator[Batch]) -> Iterator[tuple[str, str]]:
    """(what was said, what was heard) of every recording."""
    for batch in batches:
        logits, frames = model(batch)
        for said, row, count in zip(batch["transcript"], logits.argmax(-1), frames.tolist(), strict=True):
            yield plain(said), alphabet.read(row[:count])


def errors(pairs: list[tuple[str, str]]) -> Mapping[str, float]:
    """``wer`` and ``cer`` over all pairs with something said. Raises DataError when nothing was."""
    import jiwer

    known = [(said, heard) for said, heard in pairs if said]
    if not known:
        raise DataError("no test recording has a transcript with letters")
    said, heard = (list(side) for side in zip(*known, strict=True))
    return {"wer": float(jiwer.wer(said, heard)), "cer": float(jiwer.cer(said, heard))}
