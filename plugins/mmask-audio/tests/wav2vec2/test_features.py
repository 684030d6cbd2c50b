"""Frames of a waveform: their number, padding, the packed way, gradients."""

from __future__ import annotations

import pytest
import torch

from mmask.api import Batch, RecipeError
from mmask_audio.wav2vec2.arithmetic import Arithmetic
from mmask_audio.wav2vec2.features import ConvFeatures

BASE = ((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
SMALL = {"channels": 4, "kernels": (10, 3, 2), "strides": (5, 2, 2)}


def front(**options):
    torch.manual_seed(0)
    return ConvFeatures(**{**SMALL, **options}).double()


@pytest.mark.parametrize("stack", [BASE, ((10, 3, 2), (5, 2, 2)), ((7, 4), (3, 4)), ((3,), (1,))])
def test_the_number_of_frames_is_that_of_the_convolutions(stack):
    kernels, strides = stack
    counted = Arithmetic(*stack)
    lengths = range(counted.receptive - 3, counted.receptive + 3 * counted.stride + 2)
    for length in lengths:
        x = torch.zeros(1, 1, length, device="meta")
        try:
            for kernel, stride in zip(kernels, strides, strict=True):
                x = torch.nn.functional.conv1d(x, torch.zeros(1, 1, kernel, device="meta"), stride=stride)
            want = x.shape[2]
        except RuntimeError:  # shorter than a kernel
            want = 0
        assert counted.frames(length) == want
    assert counted.frames(torch.tensor(list(lengths))).tolist() == [counted.frames(n) for n in lengths]


def test_frames_of_the_paper():
    counted = Arithmetic(*BASE)
    assert (counted.receptive, counted.stride) == (400, 320)  # 25 ms each 20 ms at 16 kHz
    assert [counted.frames(n) for n in (399, 400, 16_000, 250_000)] == [0, 1, 49, 781]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", ["layer", "group"])
def test_padding_changes_nothing_where_the_norm_allows_it(norm, bias, clips):
    tokenizer = front(norm=norm, over="own", bias=bias)
    batch = clips()
    values, layout = tokenizer(batch).values, tokenizer.layout(batch)
    for row, length in enumerate(batch["audio.length"].tolist()):
        alone = tokenizer(clips([length], first=row)).values[0]
        assert len(alone) == int(layout.valid[row].sum())
        torch.testing.assert_close(values[row, : len(alone)], alone, rtol=1e-12, atol=1e-12)


def test_the_reference_s_group_norm_sees_padding(clips):
    """Documented: bucket clips by length, or set over=own."""
    tokenizer = front(norm="group")
    together, alone = tokenizer(clips()).values[1], tokenizer(clips([430], first=1)).values[0]
    assert (together[: len(alone)] - alone).abs().max() > 0.01


def test_packed_convolutions_are_the_padded_ones(clips):
    batch, grads = clips((1010, 19, 430, 29, 30, 777)), []  # two of them shorter than a frame
    for fast in (True, False):
        tokenizer = front(norm="layer", bias=True, fast=fast)
        tokens = tokenizer(batch)
        assert tokens.layout.lengths().tolist() == [50, 0, 21, 0, 1, 38]
        own = tokens.values[tokens.layout.maskable()]
        own.sin().sum().backward()
        grads.append([own.detach(), *(p.grad for p in tokenizer.parameters())])
    for fast, plain in zip(*grads, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


def test_gradients_are_scaled_and_can_be_stopped(clips):
    def gradient(scale):
        tokenizer = front(grad_scale=scale)
        values = tokenizer(clips()).values
        if not values.requires_grad:
            return None
        values.square().sum().backward()
        return tokenizer.conv_layers[0].conv.weight.grad

    torch.testing.assert_close(gradient(0.1), 0.1 * gradient(1.0), rtol=1e-12, atol=0)
    assert gradient(0.0) is None


def test_full_clips_need_no_mask_and_short_ones_are_refused(clips):
    tokenizer = front()
    assert tokenizer.layout(clips((200, 200))).valid is None
    with pytest.raises(RecipeError, match="clips of 29 samples have no frame; the convolutions need 30"):
        tokenizer.layout(clips((29, 20)))
    stereo = Batch({"audio": torch.zeros(2, 2, 400)}, clips((1, 1)).ids, clips((1, 1)).visits)
    with pytest.raises(RecipeError, match="channels=mono"):
        tokenizer.layout(stereo)
    with pytest.raises(RecipeError, match="no stack of convolutions"):
        front(channels=(4, 4))
