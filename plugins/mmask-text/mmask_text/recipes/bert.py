"""BERT (Devlin et al., NAACL 2019, arXiv 1810.04805) and RoBERTa (Liu et al. 2019, arXiv 1907.11692).

Constants follow the papers; google-research/bert at eedf571 and facebookresearch/fairseq at 3d262bb are what the
comments call the code. The small sizes are those of Turc et al. 2019, arXiv 1908.08962.
"""

from __future__ import annotations

from typing import Any

from mmask.api import (
    DataSection,
    NetworkSection,
    ObjectiveSection,
    OptimSection,
    PackSection,
    Recipe,
    ScheduleSection,
    ViewSection,
    use,
)

_BERT = "Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers, arXiv 1810.04805"
_ROBERTA = "Liu et al. 2019, RoBERTa: A Robustly Optimized BERT Pretraining Approach, arXiv 1907.11692"


def words_head(**options: Any) -> dict[str, ObjectiveSection]:
    """The objective of every masked language model here: the hidden ids, averaged over the places of the step."""
    return {
        "words": ObjectiveSection(head=use("mlm", **options), target=use("ids"), loss=use("cross-entropy"))
    }


def masking(ratio: float, **options: Any) -> Any:
    """So many of a text's places; of these 80 % become [MASK], 10 % any id, 10 % stay. All of them are predicted."""
    shares = {"mask": 0.8, "random": 0.1, "keep": 0.1}
    return use("random", **{"ratio": ratio, "rounding": "round", "at_least": 1, "action": shares, **options})


def bert(
    name: str, summary: str, *, width: int, depth: int, heads: int, size: int | None = 30522,
    demo: dict[str, Any] | None = None,
) -> Recipe:
    """A BERT of one size, without next sentence prediction (RoBERTa, section 4.2: it does not help)."""
    return Recipe(
        name=name, summary=summary, paper=_BERT,
        # packs of 128 places: texts whole where they fit, cut into samples of 128 where not, never padded
        data=DataSection(
            dataset="speeches", decode={"text": use("text")}, pack=PackSection(by="text", length=128), batch_size=256,
        ),
        tokenize={"text": use("ids", size=size)},
        # 15 % of all tokens, special ones counted but never hidden; the code's max_predictions_per_seq is 20 at 128
        mask=masking(0.15, count_special=True, cap=20),
        views={"masked": ViewSection(corrupt=use("token-ids"))},
        networks={"encoder": NetworkSection(use="text", width=width, depth=depth, heads=heads)},
        objectives=words_head(),
        # matrices decay, biases and norms do not; the code's Adam has no bias correction, this one has
        optim=OptimSection(lr=1e-4, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, clip=1.0),
        schedule=ScheduleSection(steps=1_000_000, kind="linear", warmup_steps=10_000),
        preview=use("text"),
        profiles={"demo": {**DEMO, **(demo or {})}},
    )


def started(width: int, network: str) -> dict[str, Any]:
    """For minutes of a narrow network: sums of ``width`` terms start as large as those of 768; no dropout."""
    values = {"std": round(0.02 * (768 / width) ** 0.5, 2), "dropout": 0.0, "attention_dropout": 0.0}
    return {f"networks.{network}.{key}": value for key, value in values.items()}


# What two cores can do in minutes on short texts: the method as it is, with the vocabulary's own table.
DEMO: dict[str, Any] = {
    "data.pack.length": 64,
    "data.batch_size": 64,
    "tokenize.text.size": None,
    "optim.lr": 1e-3,
    "schedule.steps": 600,
    "schedule.warmup_steps": 60,
    "train.save_every": 200,
    "train.log_every": 10,
}
# Small networks take many small steps.
DEMO_TINY: dict[str, Any] = {
    "data.batch_size": 16,
    "optim.lr": 2e-3,
    "schedule.steps": 2400,
    "schedule.warmup_steps": 240,
    "train.save_every": 800,
}
# The larger sizes: fewer texts a step, fewer steps, a step size that their width bears.
DEMO_LARGE: dict[str, Any] = {
    "data.batch_size": 16,
    "optim.lr": 2e-4,
    "schedule.steps": 60,
    "schedule.warmup_steps": 10,
    "train.save_every": 30,
}


def bert_tiny() -> Recipe:
    """4.4 M parameters."""
    return bert(
        "bert-tiny", "masked language model, 2 layers of 128", width=128, depth=2, heads=2,
        demo=DEMO_TINY | started(128, "encoder"),
    )


def bert_small() -> Recipe:
    """28.8 M parameters."""
    return bert(
        "bert-small", "masked language model, 4 layers of 512", width=512, depth=4, heads=8,
        demo={"data.batch_size": 32, "schedule.steps": 200, "optim.lr": 5e-4, "train.save_every": 100},
    )


def bert_base() -> Recipe:
    """110 M parameters."""
    return bert(
        "bert-base", "masked language model, 12 layers of 768", width=768, depth=12, heads=12, demo=DEMO_LARGE,
    )


def bert_base_nsp() -> Recipe:
    """BERT as published: half of the pairs have a second segment of another text, and [CLS] says which ones."""
    made = bert("bert-base-nsp", "masked words and next sentences, 12 layers of 768", width=768, depth=12, heads=12,
                demo=DEMO_LARGE)
    # neighbours exchange their second segments, so they stay together and are not packed
    made.data.decode["text"] = use("text", max_length=128, pair="next")
    made.data.pack, made.data.group = None, 2
    demo = {key: value for key, value in made.profiles["demo"].items() if key != "data.pack.length"}
    made.profiles["demo"] = demo | {"data.decode.text.max_length": 64}
    made.tokenize["text"] = use("ids", size=30522, pairs="next")
    made.networks["encoder"] = NetworkSection(use="text", width=768, depth=12, heads=12, pooler=True)
    made.objectives["next"] = ObjectiveSection(
        scored="pooled", head=use("pooled"), target=use("follows"), loss=use("cross-entropy")
    )
    return made


def bert_large() -> Recipe:
    """340 M parameters."""
    return bert(
        "bert-large", "masked language model, 24 layers of 1024", width=1024, depth=24, heads=16,
        demo=DEMO_LARGE | {"data.batch_size": 8, "schedule.steps": 20, "schedule.warmup_steps": 4, "optim.lr": 1e-4},
    )


def roberta_base() -> Recipe:
    """125 M parameters: byte-level pieces, one segment, full-length texts, larger batches."""
    made = bert("roberta-base", "BERT's objective alone, trained better", width=768, depth=12, heads=12, size=50265)
    made.paper = _ROBERTA
    made.data = DataSection(
        dataset="speeches", decode={"text": use("text")}, pack=PackSection(by="text", length=512), batch_size=8192,
    )
    made.mask = masking(0.15, rounding="random")  # int(0.15 n + u): right in the mean
    made.networks["encoder"] = NetworkSection(
        use="text", width=768, depth=12, heads=12, types=1, place_offset=2, eps=1e-5
    )
    # 6e-4 at 8192 texts of 512 (table 9); betas[1] 0.98 and no clipping
    made.optim = OptimSection(lr=6e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    made.schedule = ScheduleSection(steps=500_000, kind="linear", warmup_steps=24_000)
    made.profiles = {"demo": {**DEMO, **DEMO_LARGE}}
    return made
