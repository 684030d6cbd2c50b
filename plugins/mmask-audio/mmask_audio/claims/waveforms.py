"""Claims: wav2vec 2.0."""

from __future__ import annotations

from mmask.api import Component

_AT = "mmask_audio.wav2vec2"

CLAIMS: tuple[Component, ...] = (
    Component("tokenizer", "conv-features", f"{_AT}.features:ConvFeatures", "frames of a waveform by convolutions"),
    Component("encoder", "speech-transformer", f"{_AT}.encoder:SpeechEncoder", "wav2vec 2.0's context network"),
    Component("target", "gumbel-codes", f"{_AT}.target:GumbelCodes", "learnt codes of clean features, and negatives"),
    Component("loss", "sampled-contrast", f"{_AT}.contrast:SampledContrast", "the right one of 1 + K, by cosine"),
    Component("objective", "code-contrast", f"{_AT}.objective:CodeContrast", "contrast, and diverse use of codes"),
    Component("objective", "feature-penalty", f"{_AT}.objective:FeaturePenalty", "small features before their norm"),
    Component("preview", "waveform", f"{_AT}.preview:WaveformPreview", "hidden spans, their codes, which were found"),
    Component("weights", "wav2vec2", f"{_AT}.weights:Wav2Vec2Weights", "transformers, torchaudio and fairseq"),
    Component("exporter", "hf", f"{_AT}.export.to_hf:HfSpeechExporter", "a folder for from_pretrained"),
    Component("exporter", "torchaudio", f"{_AT}.export.to_torchaudio:TorchaudioExporter", "a torchaudio state dict"),
    Component("recipe", "wav2vec2-tiny", "mmask_audio.recipes.wav2vec2:wav2vec2_tiny", "wav2vec 2.0, tiny"),
    Component("recipe", "wav2vec2-base", "mmask_audio.recipes.wav2vec2:wav2vec2_base", "wav2vec 2.0 BASE"),
)
