"""DALL-E's tokenizer: its arithmetic, its files, and what is not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from mmask.api import CheckpointError, RecipeError
from mmask_image.dalle import DallETokenizer, read_dalle

SMALL = {"width": 8, "blocks": 2, "vocabulary": 32}

# The published file is a pickled module of the package `dall_e`. This writes one of the same form: the same
# modules, classes and names, built in another process so that the classes do not exist where it is read.
_PICKLE = dedent("""
    import sys, types, torch
    from collections import OrderedDict
    from torch import nn
    encoder, utils = types.ModuleType("dall_e.encoder"), types.ModuleType("dall_e.utils")
    sys.modules |= {"dall_e": types.ModuleType("dall_e"), "dall_e.encoder": encoder, "dall_e.utils": utils}

    class Conv2d(nn.Module):
        def __init__(self, n_in, n_out, kw):
            super().__init__()
            self.n_in, self.n_out, self.kw, self.device = n_in, n_out, kw, torch.device("cpu")
            self.use_float16, self.requires_grad = True, False
            self.w = nn.Parameter(torch.randn(n_out, n_in, kw, kw) / (n_in * kw * kw) ** .5, requires_grad=False)
            self.b = nn.Parameter(torch.randn(n_out), requires_grad=False)

    class EncoderBlock(nn.Module):
        def __init__(self, n_in, n_out, n_layers):
            super().__init__()
            self.n_in, self.n_out, self.post_gain, hid = n_in, n_out, 1 / n_layers ** 2, n_out // 4
            self.id_path = Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
            self.res_path = nn.Sequential(OrderedDict([
                ("relu_1", nn.ReLU()), ("conv_1", Conv2d(n_in, hid, 3)), ("relu_2", nn.ReLU()),
                ("conv_2", Conv2d(hid, hid, 3)), ("relu_3", nn.ReLU()), ("conv_3", Conv2d(hid, hid, 3)),
                ("relu_4", nn.ReLU()), ("conv_4", Conv2d(hid, n_out, 1)),
            ]))

    class Encoder(nn.Module):
        group_count = 4
        def __init__(self, n_hid, blk, vocab):
            super().__init__()
            self.n_hid, self.vocab_size, self.device = n_hid, vocab, torch.device("cpu")
            groups, inside = [("input", Conv2d(3, n_hid, 7))], n_hid
            for g in range(4):
                out = n_hid * 2 ** g
                rows = [(f"block_{i + 1}", EncoderBlock(inside if i == 0 else out, out, 4 * blk)) for i in range(blk)]
                rows += [("pool", nn.MaxPool2d(kernel_size=2))] if g < 3 else []
                groups.append((f"group_{g + 1}", nn.Sequential(OrderedDict(rows))))
                inside = out
            last = OrderedDict([("relu", nn.ReLU()), ("conv", Conv2d(inside, vocab, 1))])
            self.blocks = nn.Sequential(OrderedDict([*groups, ("output", nn.Sequential(last))]))

    for where, kind in ((utils, Conv2d), (encoder, EncoderBlock), (encoder, Encoder)):
        kind.__module__, kind.__qualname__ = where.__name__, kind.__name__
        setattr(where, kind.__name__, kind)
    torch.manual_seed(0)
    made = Encoder(8, 2, 32)
    torch.save(made, sys.argv[1])
    torch.save(made.state_dict(), sys.argv[2])
""")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("dalle")
    module, tensors = folder / "encoder.pkl", folder / "state.pt"
    subprocess.run([sys.executable, "-c", _PICKLE, str(module), str(tensors)], check=True)
    return module, tensors


def test_a_pickled_module_is_read_without_its_classes(files):
    module, tensors = files
    assert "dall_e" not in sys.modules
    found, plain = read_dalle(module), read_dalle(tensors)
    assert "dall_e" not in sys.modules
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], value) for name, value in plain.items())


def test_the_same_weights_come_from_every_kind_of_file(files, tmp_path):
    module, tensors = files
    save_file(read_dalle(tensors), tmp_path / "encoder.safetensors")
    picture = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    sources = (module, tensors, tmp_path / "encoder.safetensors")
    ids = [DallETokenizer(**SMALL, weights=str(source)).ids(picture) for source in sources]
    assert torch.equal(ids[0], ids[1])
    assert torch.equal(ids[0], ids[2])
    assert len(ids[0].unique()) > 1


def test_ids_are_those_of_the_published_arithmetic(files):
    """Written out with functions: 7 x 7, four groups of bottlenecks with gain 1/64, pooling, 1 x 1."""
    weights = read_dalle(files[1])
    picture = torch.rand(2, 3, 32, 32)

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        w = weights[f"blocks.{name}.w"]
        return F.conv2d(x, w, weights[f"blocks.{name}.b"], padding=w.shape[-1] // 2)

    x = conv("input", 0.8 * picture + 0.1)
    for group in (1, 2, 3, 4):
        for block in (1, 2):
            at, inner = f"group_{group}.block_{block}", x
            for number in (1, 2, 3, 4):
                inner = conv(f"{at}.res_path.conv_{number}", inner.relu())
            straight = conv(f"{at}.id_path", x) if f"blocks.{at}.id_path.w" in weights else x
            x = straight + inner / 64
        x = F.max_pool2d(x, 2) if group < 4 else x
    want = conv("output.conv", x.relu())
    made = DallETokenizer(**SMALL, weights=str(files[0]))
    assert torch.allclose(made(picture), want, atol=1e-5)
    assert torch.equal(made.ids(picture), want.argmax(1))


def test_one_id_for_eight_pixels_and_the_published_size():
    with torch.device("meta"):
        made = DallETokenizer()
        logits = made(torch.empty(1, 3, 112, 112))
    assert logits.shape == (1, 8192, 14, 14)
    assert made.blocks.group_4.block_1.id_path.w.shape == (2048, 1024, 1, 1)


def test_a_file_that_names_another_class_is_not_read(tmp_path):
    class Innocent:
        def __reduce__(self):
            return (Path.touch, (Path(tmp_path / "ran"),))

    torch.save({"w": Innocent()}, tmp_path / "bad.pkl")
    with pytest.raises(CheckpointError, match="tensors alone"):
        read_dalle(tmp_path / "bad.pkl")
    assert not (tmp_path / "ran").exists()


def test_missing_weights_are_named(files, tmp_path):
    with pytest.raises(CheckpointError, match="no tokenizer file"):
        DallETokenizer(weights=str(tmp_path / "none.pkl"))
    with pytest.raises(CheckpointError, match="width 256"):
        DallETokenizer(**{**SMALL, "vocabulary": 64}, weights=str(files[0]))
    (tmp_path / "list.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        read_dalle(tmp_path / "list.pt")


def test_random_weights_give_no_ids_but_a_resumed_state_does(files):
    picture = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    fresh = DallETokenizer(**SMALL)
    with pytest.raises(RecipeError, match="no weights"):
        fresh.ids(picture)
    fresh.load_state_dict(DallETokenizer(**SMALL, weights=str(files[0])).state_dict())
    assert fresh.ids(picture).shape == (1, 2, 2)
