"""The core's own manifest: it comes through the same door as any plugin, under the name ``core``."""

from __future__ import annotations

from mmask.plugin.component import Component
from mmask.plugin.spec import hookimpl

_IDS = (  # of discrete tokens
    Component("target", "ids", "mmask.target.ids:Ids", "the clean ids at scored places (BERT)"),
    Component("corruption", "token-ids", "mmask.corrupt.ids:ReplaceIds", "hidden ids: mask, random or kept (BERT)"),
    Component(
        "corruption", "sample-ids", "mmask.corrupt.sample:SampleIds", "draws from another network (ELECTRA)"
    ),
    Component("target", "replaced", "mmask.target.replaced:Replaced", "whether ids are still the clean ones"),
    Component("loss", "binary", "mmask.loss.binary:BinaryCrossEntropy", "yes or no, in nats"),
    Component("masker", "run", "mmask.mask.run:RunMasker", "runs of words: n-grams, SpanBERT's spans"),
)


_EVALUATORS = (
    Component(
        "evaluator", "attentive", "mmask.evaluate.attentive:AttentiveProbe",
        "one query that attends to the fixed states of all places",
    ),
    Component("evaluator", "knn", "mmask.evaluate.knn:NearestNeighbours", "weighted nearest neighbours, by cosine"),
    Component("evaluator", "linear", "mmask.evaluate.linear:LinearProbe", "a linear head on fixed features (MAE)"),
    Component("evaluator", "weighted", "mmask.evaluate.weighted:WeightedLayers", "a learnt sum of layers (SUPERB)"),
    Component("evaluator", "finetune", "mmask.evaluate.finetune:FineTune", "the whole encoder, end to end"),
)


_PAIRS = (  # of two sides of a sample
    Component("evaluator", "zeroshot", "mmask.evaluate.zeroshot:ZeroShot", "classes told by what is said of them"),
    Component("evaluator", "retrieval", "mmask.evaluate.retrieval:Retrieval", "one side of samples found by the other"),
    Component("objective", "belongs", "mmask.train.pairs:Belongs", "do the two sides belong together (LXMERT)"),
)


@hookimpl
def mmask_components() -> tuple[Component, ...]:
    """Modality-agnostic components."""
    return (
        Component("masker", "random", "mmask.mask.random:RandomMasker", "an exact number of places, uniformly"),
        Component("masker", "independent", "mmask.mask.independent:IndependentMasker", "each place by its own coin"),
        Component("masker", "block", "mmask.mask.block:BlockMasker", "rectangles of a grid (BEiT, CAE)"),
        Component("masker", "span", "mmask.mask.span:SpanMasker", "runs of a sequence, fixed or geometric"),
        Component("masker", "tube", "mmask.mask.tube:TubeMasker", "one spatial plan for every frame of a clip"),
        Component("masker", "cuboids", "mmask.mask.cuboid:CuboidMasker", "a union of cuboids of a clip (VIOLET)"),
        Component("masker", "group", "mmask.mask.group:GroupMasker", "whole words or other groups, within a budget"),
        Component("corruption", "drop", "mmask.corrupt.drop:Drop", "hidden places leave the sequence (MAE)"),
        Component("loss", "mse", "mmask.loss.regression:MeanSquaredError", "squared error, averaged in each place"),
        Component("target", "values", "mmask.target.values:Values", "the clean values, raw or normalised per place"),
        Component(
            "head", "transformer-decoder", "mmask.heads.decoder:TransformerDecoder",
            "light decoder over mask tokens and encoded places (MAE)",
        ),
        Component("masker", "clusters", "mmask.mask.cluster:ClusterMasker", "squares of a grid, an exact number"),
        Component("masker", "units", "mmask.mask.units:UnitMasker", "square units of places, an exact number (SimMIM)"),
        Component("corruption", "token", "mmask.corrupt.token:MaskToken", "hidden places become the mask token (BEiT)"),
        Component("loss", "l1", "mmask.loss.absolute:MeanAbsoluteError", "absolute error, averaged in each place"),
        Component("loss", "cosine", "mmask.loss.cosine:CosineDistance", "one minus the cosine (features of a teacher)"),
        Component("loss", "cells", "mmask.loss.cells:CellError", "the distance at scored cells (TERA)"),
        Component("loss", "info-nce", "mmask.loss.contrast:InfoNce", "the right one among a sample's others (SSAST)"),
        Component("loss", "cross-entropy", "mmask.loss.entropy:CrossEntropy", "-log softmax of the right id, in nats"),
        Component("loss", "divergence", "mmask.loss.divergence:Divergence", "KL from a given distribution, in nats"),
        Component("head", "linear", "mmask.heads.linear:LinearHead", "one linear layer at scored places"),
        Component("head", "two-layers", "mmask.heads.two_layers:TwoLayers", "two linear layers at scored places"),
        Component("head", "pooled", "mmask.heads.pooled:PooledHead", "one linear layer on the pooled state"),
        Component("head", "states", "mmask.heads.linear:StatesHead", "the network's own states, no layer"),
        Component("target", "latents", "mmask.target.latents:Latents", "a network's states, without gradient (CAE)"),
        *_IDS,
        Component("target", "codes", "mmask.target.codes:Codes", "ids from a frozen discrete tokenizer (BEiT)"),
        Component(
            "exporter", "safetensors", "mmask.export.plain:PlainExporter", "weights and the recipe, for mmask itself"
        ),
        Component("tracker", "tensorboard", "mmask.observe.tensorboard:TensorBoardTracker", "event files"),
        *_EVALUATORS,
        *_PAIRS,
    )
