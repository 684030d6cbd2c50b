"""Claims: clips, how they are read, and VideoMAE."""

from __future__ import annotations

from mmask.api import Component

_VIDEOMAE = {
    "tiny": "masked clips, ViT-Ti/16 on tubelets of two frames",
    "s": "masked clips, ViT-S/16 on tubelets of two frames",
    "b": "masked clips, ViT-B/16 on tubelets of two frames",
}

CLAIMS: tuple[Component, ...] = (
    Component("decoder", "video", "mmask_video.decode:VideoDecoder", "frames of a clip, cropped and of one size"),
    Component("tokenizer", "tubelet", "mmask_video.clip:ClipTokenizer", "pixels of a grid of cuboids"),
    Component("encoder", "video-vit", "mmask_video.vit:VideoEncoder", "a ViT on the kept cuboids of a clip"),
    Component("target", "cuboids", "mmask_video.target:Cuboids", "pixels of cuboids, normalised a channel"),
    Component("weights", "videomae", "mmask_video.weights:VideoMaeWeights", "checkpoints of VideoMAE, both forms"),
    Component("exporter", "hf-videomae", "mmask_video.videomae_export:VideoMaeExporter", "a folder for VideoMAEModel"),
    Component("preview", "clip", "mmask_video.preview:ClipPreview", "frames: original, hidden, reconstructed"),
    Component("preview", "video-sheet", "mmask_video.sheet:VideoSheet", "stored videos: a few frames of each"),
    Component("dataset", "moving-emoji", "mmask_video.dataset:moving_emoji", "captioned clips of 64 px, in the wheel"),
    Component("packer", "video", "mmask_video.pack:VideoPacker", "video files, as they are or made smaller"),
    *(
        Component("recipe", f"videomae-{size}", f"mmask_video.recipes.videomae:videomae_{size}", summary)
        for size, summary in _VIDEOMAE.items()
    ),
)
