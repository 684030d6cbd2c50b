"""Claims: LXMERT, two streams that meet."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("encoder", "lxmert", "mmask_vl.lxmert.encoder:LxmertEncoder", "words and objects, apart, then together"),
    Component(
        "corruption", "replace-regions", "mmask_vl.lxmert.replace:ReplaceRegions",
        "features of hidden regions: zero, of another picture, or kept (LXMERT)",
    ),
    Component(
        "objective", "object-tasks", "mmask_vl.lxmert.objects:ObjectTasks", "classes, attributes, features of objects"
    ),
    Component("decoder", "answer", "mmask_vl.lxmert.decode:AnswerDecoder", "the answer to a question, as a class"),
    Component("target", "answers", "mmask_vl.lxmert.answers:Answers", "the class of the answer, where there is one"),
    Component("head", "answer", "mmask_vl.lxmert.answers:AnswerHead", "an answer, from the pooled state"),
    Component("weights", "lxmert", "mmask_vl.lxmert.weights:LxmertWeights", "checkpoints of LXMERT"),
    Component("weights", "hf", "mmask_vl.lxmert.weights:LxmertWeights", "LXMERT by transformers' names"),
    Component("exporter", "hf", "mmask_vl.lxmert.export:HfLxmertExporter", "transformers' LXMERT"),
    *(
        Component("recipe", name, f"mmask_vl.recipes.lxmert:{name.replace('-', '_')}", summary)
        for name, summary in (
            ("lxmert-tiny", "words and objects, two streams of width 128"),
            ("lxmert-base", "words and objects, 9, 5 and 5 layers of width 768"),
        )
    ),
)
