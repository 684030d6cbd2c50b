"""Detector: regions of pictures from one of torchvision's two-stage detectors and a local file of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.api import CheckpointError, UsageError, did_you_mean, read_tensors

_SCORES = "roi_heads.box_predictor.cls_score.weight"


class Detector:
    """Per region: ``features`` (D,), the box head's last states (1,024 of Faster R-CNN); ``boxes`` (4,); ``classes``
    (C,), the softmax, background first; ``confidence``, the largest share that is not background's. One box a region,
    that of its likeliest class.

    name: of a detector in torchvision with a region proposal network (``fasterrcnn_resnet50_fpn``). weights: its state
    dict, ``.pth`` (read without unpickling objects) or ``.safetensors``; the number of classes is the file's. most,
    least: regions of a picture. show: confidence above which more than ``least`` stay. overlap: intersection over union
    above which the less sure of two regions goes. Nothing is downloaded. ``dim`` and ``classes`` are D and C.
    """

    def __init__(
        self, name: str, weights: Path, *, most: int = 36, least: int = 2, show: float = 0.2, overlap: float = 0.5,
        device: str = "cpu",
    ) -> None:
        self.model = load_detector(name, weights).to(device).eval()
        self.most, self.least, self.show, self.overlap, self.device = most, least, show, overlap, device
        scores: Any = self.model.get_submodule("roi_heads.box_predictor.cls_score")
        self.dim, self.classes = int(scores.in_features), int(scores.out_features)

    @torch.no_grad()
    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """picture: (H, W, 3) uint8. -> arrays over regions, the surest first, float16 but for boxes (float32)."""
        from torchvision.ops import clip_boxes_to_image, nms

        model: Any = self.model
        image = torch.from_numpy(np.array(picture)).to(self.device).permute(2, 0, 1).float() / 255
        images, _ = model.transform([image])
        maps = model.backbone(images.tensors)
        maps = {"0": maps} if isinstance(maps, Tensor) else maps
        proposals, _ = model.rpn(images, maps)
        heads = model.roi_heads
        states = heads.box_head(heads.box_roi_pool(maps, proposals, images.image_sizes))
        logits, moves = heads.box_predictor(states)
        shares = logits.softmax(-1)
        sure, best = shares[:, 1:].max(-1)
        every = heads.box_coder.decode(moves, proposals).view(len(shares), -1, 4)
        boxes = clip_boxes_to_image(every[torch.arange(len(shares)), best + 1], images.image_sizes[0])
        keep = nms(boxes, sure, self.overlap)
        count = min(self.most, max(self.least, int((sure[keep] > self.show).sum())))
        keep = keep[:count]
        high, wide = images.image_sizes[0]
        scale = torch.tensor([wide, high, wide, high], dtype=boxes.dtype, device=boxes.device)
        found = {"features": states, "boxes": boxes / scale, "classes": shares, "confidence": sure}
        kinds = {"boxes": np.float32}
        return {key: value[keep].cpu().numpy().astype(kinds.get(key, np.float16)) for key, value in found.items()}


def load_detector(name: str, weights: Path) -> torch.nn.Module:
    """The detector with the weights of a file. Raises UsageError and CheckpointError."""
    from torchvision.models import detection, get_model, list_models

    known = [one for one in list_models(module=detection) if "rcnn" in one]
    if name not in known:
        raise UsageError(f"no detector '{name}'{did_you_mean(name, known)}", hint=f"torchvision has {', '.join(known)}")
    state = read_tensors(Path(weights), inner=("model", "state_dict"))
    if _SCORES not in state:
        raise CheckpointError(f"{weights} has no '{_SCORES}': it is no two-stage detector of torchvision's")
    model = get_model(name, weights=None, weights_backbone=None, num_classes=len(state[_SCORES]))
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit '{name}': {error}") from error
    return model
