"""Claims: recordings, features, packers and sample shards."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("decoder", "audio", "mmask_audio.decode:AudioDecoder", "samples of a recording, cropped and resampled"),
    Component("decoder", "fbank", "mmask_audio.features:FbankDecoder", "Kaldi's log-mel filter bank of a recording"),
    Component("decoder", "mel", "mmask_audio.features:MelDecoder", "log-mel spectrum of a recording, as TERA's"),
    Component("decoder", "features", "mmask_audio.features:StoredFeatures", "stored frames of features"),
    Component("decoder", "transcript", "mmask_audio.transcript:TranscriptDecoder", "what was said, as text"),
    Component("packer", "audio", "mmask_audio.pack:AudioPacker", "recordings, as they are or as FLAC, and features"),
    Component("preview", "audio-sheet", "mmask_audio.sheet:AudioSheet", "stored recordings: wave and spectrogram"),
    Component("dataset", "speech", "mmask_audio.dataset:speech", "520 English prompts with text, in the wheel"),
    Component("dataset", "sounds", "mmask_audio.dataset:sounds", "90 short sounds of eight kinds, in the wheel"),
)
