"""Models of open_clip by name or as files on this machine: their configuration and their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from mmask.api import RecipeError, did_you_mean, read_tensors

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def configuration(model: str) -> tuple[dict[str, Any], str]:
    """``embed_dim``, ``vision_cfg`` and ``text_cfg`` of a model, and the path of weights that lie beside them, or "".

    model: a name that open_clip knows; a configuration in JSON, open_clip's own or a hub's ``open_clip_config.json``;
    or the folder that holds one, as ``mmask export --format open-clip`` writes it. Raises RecipeError for others.
    """
    import open_clip

    path = Path(model)
    if path.suffix != ".json" and not path.is_dir():
        known = open_clip.list_models()
        if model not in known:
            near = did_you_mean(model, known)
            raise RecipeError(f"open_clip has no model '{model}'{near}, and there is no such folder")
        return dict(open_clip.get_model_config(model)), ""
    file = path if path.suffix == ".json" else _file(path)
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{file} is no configuration of open_clip: {error}") from error
    found = found.get("model_cfg", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= found.keys():
        raise RecipeError(f"{file} is no configuration of open_clip: it lacks embed_dim, vision_cfg or text_cfg")
    beside = [str(file.parent / name) for name in WEIGHTS if (file.parent / name).is_file()]
    return dict(found), beside[0] if beside and path.is_dir() else ""


def _file(folder: Path) -> Path:
    own = folder / "open_clip_config.json"
    found = [own] if own.is_file() else sorted(folder.glob("*clip*.json"))
    if len(found) != 1:
        raise RecipeError(f"{folder} holds {len(found)} configurations of open_clip, not one",
                          hint="give the path of the JSON file itself")
    return found[0]


def load(clip: nn.Module, path: Path) -> None:
    """Fill a whole model of open_clip. Raises RecipeError where names or shapes differ."""
    tensors = read_tensors(path, inner=("state_dict", "model"))
    made = {name.removeprefix("module."): value for name, value in tensors.items()}
    try:
        clip.load_state_dict(made)
    except RuntimeError as error:
        raise RecipeError(f"the weights of {path} do not fit the model: {str(error)[:300]}") from error
