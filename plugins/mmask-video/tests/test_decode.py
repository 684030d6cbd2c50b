"""Frames out of stored videos: the right ones, without decoding the rest, and clear errors."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
from PIL import Image

from mmask.api import RecipeError, Sample, SampleError, SampleId, single
from mmask_video.container import Video
from mmask_video.decode import VideoDecoder
from mmask_video.pack import VideoPacker
from mmask_video.sampling import SAMPLERS, clips, dense, sparse, uniform

FRAMES, SIDE = 40, 32


def film(
    frames: int = FRAMES, codec: str = "libx264", form: str = "mp4", gop: int = 8, width: int = SIDE,
    height: int = SIDE,
) -> bytes:
    """Frame i is a uniform grey of value 5 i + 20, modulo 256: the number can be read off the picture."""
    to = io.BytesIO()
    with av.open(to, "w", format=form) as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"g": str(gop)}
        for number in range(frames):
            picture = np.full((height, width, 3), (20 + 5 * number) % 256, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return to.getvalue()


def turned(data: bytes, matrix: tuple[int, ...]) -> bytes:
    """An mp4 whose header asks players to turn it. matrix: a, b, c, d of x' = a x + c y, y' = b x + d y."""
    a, b, c, d = (one << 16 if one >= 0 else -(1 << 16) for one in matrix)
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version 0: behind times, the track's number, duration and volume
    return data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :]


def numbers(frames) -> list[int]:
    return [round((float(np.mean(frame)) - 20) / 5) for frame in frames]


def sample(data: bytes, part: str = "mp4", **about) -> Sample:
    return Sample(SampleId("s", "a.tar", "k"), {part: data, "json": json.dumps(about).encode()})


@pytest.mark.parametrize(("codec", "form"), [("libx264", "mp4"), ("libvpx-vp9", "webm")])
@pytest.mark.parametrize("wanted", [[0], [39], [3, 4, 5], [0, 17, 39], [7, 8, 8, 9], list(range(FRAMES))])
def test_the_frames_asked_for_come_back(codec, form, wanted):
    with Video(film(codec=codec, form=form)) as video:
        assert len(video.survey) == FRAMES
        assert numbers(video.frames(wanted)) == wanted


def cut(data: bytes, seconds: float) -> bytes:
    """Without its beginning, nothing encoded again: what lies between the key frame and the cut stays in the file."""
    to = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(to, "w", format="mp4") as sink:
        old = source.streams.video[0]
        new = sink.add_stream_from_template(old)
        for packet in source.demux(old):
            if packet.dts is not None:
                packet.pts -= int(seconds / old.time_base)
                packet.dts -= int(seconds / old.time_base)
                packet.stream = new
                sink.mux(packet)
    return to.getvalue()


def test_frames_before_the_start_of_a_cut_film_are_none():
    with Video(cut(film(gop=40), 1.5)) as video:
        assert len(video.survey) == FRAMES - 15 and video.survey.between(0.0, 0.35) == (0, 4)
        assert numbers(video.frames(range(len(video.survey)))) == list(range(15, FRAMES))


def test_a_part_between_two_frames_is_the_one_that_is_shown():
    with Video(film()) as video:
        assert video.survey.between(0.29, 0.51) == (3, 6)
        assert video.survey.between(0.32, 0.38) == (3, 4)
        for start, end in ((0.38, 0.32), (4.5, 5.0), (-2.0, -1.0)):
            first, last = video.survey.between(start, end)
            assert last <= first


def test_only_what_is_needed_is_decoded():
    with Video(film()) as video:
        decoded = []
        walk = video._container.decode

        class Spy:
            def __getattr__(self, name):
                return getattr(container, name)

            def decode(self, stream):
                for frame in walk(stream):
                    decoded.append(frame.pts)
                    yield frame

        container, video._container = video._container, Spy()
        assert numbers(video.frames([1, 34])) == [1, 34]
        video._container = container
    assert len(decoded) <= 2 + 8  # 0 and 1, then from the key frame before 34, at most 8 back


def test_samplers_stay_inside_and_ascend():
    rng = np.random.default_rng(0)
    for name, pick in {**SAMPLERS, "four clips": clips(4)}.items():
        for total in (1, 5, 16, 100):
            for draws in (None, rng.random(8), np.full(8, 1 - 1e-12), np.zeros(8)):
                got = pick(total, 8, 4, draws)
                assert len(got) == 8, name
                assert got.min() >= 0 and got.max() < total and (np.diff(got) >= 0).all(), (name, total)


def test_samplers_take_what_their_papers_say():
    assert dense(100, 4, 10, np.zeros(4)).tolist() == [0, 10, 20, 30]
    assert dense(100, 4, 10, None).tolist() == [34, 44, 54, 64] or dense(100, 4, 10, None)[0] in (34, 35)
    assert uniform(100, 4, 1, None).tolist() == [12, 37, 62, 87]
    assert sparse(100, 4, 1, None).tolist() == [20, 40, 60, 80]
    assert clips(2)(100, 6, 5, np.zeros(6)).tolist() == [0, 5, 10, 50, 55, 60]
    assert clips(2)(100, 6, 5, None).tolist() == [20, 25, 30, 70, 75, 80]


def test_several_clips_are_a_way_of_dense_sampling():
    got = VideoDecoder(frames=6, stride=2, clips=3, size=8)(sample(film()), single(0, 7, 0))["augment.video"][:6]
    assert (got.reshape(3, 2) // 13.34).astype(int).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert (np.diff(got)[::2] == 2).all()
    for wrong in ({"sampling": "uniform"}, {"frames": 7}):
        with pytest.raises(RecipeError, match="clips = 3 with sampling"):
            VideoDecoder(**{"frames": 6, "clips": 3, **wrong})


def test_the_end_of_a_long_film_costs_little_time_and_memory():
    """Three minutes at 320 x 240 are 1,800 frames and 207 MB when decoded; the last clip is 16 of them."""
    code = """
import resource, sys
from pathlib import Path
from mmask_video.container import Video
data = Path(sys.argv[1]).read_bytes()
with Video(data) as video:
    video.frames([0])
    before, decode, seen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, video._container.decode, []
    class Spy:
        def __getattr__(self, name):
            return getattr(container, name)
        def decode(self, stream):
            for frame in decode(stream):
                seen.append(frame.pts)
                yield frame
    container, video._container = video._container, Spy()
    got = video.frames(list(range(len(video.survey) - 16, len(video.survey))))
    video._container = container
print(len(video.survey), len(got), len(seen), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        path.write_bytes(film(1800, gop=24, width=320, height=240))
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    total, got, decoded, megabytes = map(int, done.stdout.split())
    assert (total, got) == (1800, 16)
    assert decoded <= 16 + 24  # from the key frame before the first of them
    assert megabytes < 40  # 16 frames are 3.7 MB of pixels


def test_a_clip_has_its_shape_and_is_a_function_of_its_key():
    decode, data = VideoDecoder(frames=4, stride=3, size=(16, 24)), sample(film(width=48))
    first, again = (decode(data, single(0, 7, 0)) for _ in range(2))
    other = decode(data, single(0, 7, 1))
    assert first["video"].shape == (3, 4, 16, 24)
    assert (first["video"] == again["video"]).all()
    assert (first["augment.video"] == again["augment.video"]).all()
    assert (first["augment.video"] != other["augment.video"]).any()
    steps = np.diff(first["augment.video"][:4])
    assert (steps == 3).all()


def test_evaluation_is_the_middle_and_pad_shows_the_whole_frame():
    data = sample(film(width=48))
    whole = VideoDecoder(frames=2, stride=1, size=24, fit="pad")(data, None)
    assert set(whole) == {"video"}
    video = whole["video"].numpy()
    assert video[:, :, 0].max() == 0 and video[:, :, 12].min() > 0  # 48 x 32 becomes 24 x 16 between black bars


def test_a_span_of_the_file_is_used_alone():
    decode = VideoDecoder(frames=5, sampling="uniform", size=8, span=("start", "end"))
    got = decode(sample(film(), start=1.0, end=2.0), None)["video"]
    assert min(numbers(got.permute(1, 0, 2, 3).numpy())) >= 10
    assert max(numbers(got.permute(1, 0, 2, 3).numpy())) <= 20
    with pytest.raises(SampleError, match="no seconds 'start'"):
        decode(sample(film()), None)
    with pytest.raises(SampleError, match="no frame lies"):
        decode(sample(film(), start=90, end=91), None)


@pytest.mark.parametrize("data", [b"", b"not a video", film()[:300], film()[: len(film()) // 2]])
def test_damaged_files_are_sample_errors(data):
    with pytest.raises(SampleError, match=r"s:a\.tar:k"):
        VideoDecoder(frames=16, stride=2, size=16)(sample(data), None)


def test_huge_frames_and_missing_parts_are_refused():
    with pytest.raises(SampleError, match="the limit is 100 pixels"):
        VideoDecoder(max_pixels=100)(sample(film()), None)
    with pytest.raises(SampleError, match="has no video"):
        VideoDecoder()(Sample(SampleId("s", "a.tar", "k"), {"jpg": b""}), None)
    with pytest.raises(RecipeError, match="sampling = 'often'"):
        VideoDecoder(sampling="often")


@pytest.mark.parametrize("form", ["avi", "matroska", "mov"])
def test_other_containers_give_the_same_frames(form):
    with Video(film(form=form)) as video:
        assert numbers(video.frames([0, 17, 39])) == [0, 17, 39]


def test_a_second_rendering_shows_the_same_crop():
    made = VideoDecoder(frames=2, stride=1, size=24, second=8)(sample(film(width=48)), single(0, 7, 0))
    assert made["video"].shape == (3, 2, 24, 24) and made["second"].shape == (3, 2, 8, 8)
    assert np.abs(made["video"].float().mean((0, 2, 3)) - made["second"].float().mean((0, 2, 3))).max() < 1


def test_without_a_crop_the_flip_is_still_drawn():
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:, 8:] = 255
    to = io.BytesIO()
    Image.fromarray(picture).save(to, "png")
    still = Sample(SampleId("s", "a.tar", "k"), {"png": to.getvalue()})
    decode = VideoDecoder(frames=3, size=16, scale=None, flip=1.0, stills=["png"])
    made = decode(still, single(0, 7, 0))
    assert made["augment.video"].tolist() == [0, 0, 0, 0, 0, 16, 16, 1]
    assert (made["video"].flip(-1) == decode(still, None)["video"]).all()
    assert decode(still, None)["video"].shape == (3, 3, 16, 16)
    with pytest.raises(SampleError, match="not a readable picture"):
        decode(Sample(SampleId("s", "a.tar", "k"), {"png": b"x"}), None)


def test_packed_videos_are_smaller_and_keep_their_times(tmp_path):
    (tmp_path / "a.mp4").write_bytes(film(width=48))
    keep = VideoPacker()(tmp_path / "a.mp4", {})
    assert keep == {"mp4": film(width=48)} == VideoPacker(resize=64)(tmp_path / "a.mp4", {})
    for rate, frames in ((None, 40), (5, 20), (25, 40)):  # of 10 a second; none is repeated
        with Video(VideoPacker(resize=16, rate=rate)(tmp_path / "a.mp4", {})["mp4"]) as video:
            survey = video.survey
            assert (survey.height, survey.width, len(survey)) == (16, 24, frames)
            assert abs((survey.times[-1] - survey.times[0]) * survey.tick - 3.9) < 0.2
    with pytest.raises(RecipeError, match="needs resize"):
        VideoPacker(rate=5)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_clip_of_a_telephone_stands_upright(matrix, turns):
    to = io.BytesIO()
    with av.open(to, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:16, :32] = 255  # what is white is the top left
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")), *stream.encode()]:
            container.mux(packet)
    with Video(turned(to.getvalue(), matrix)) as video:
        (frame,) = video.frames([0])
    want = np.rot90(picture, turns)
    assert frame.shape == want.shape
    assert np.abs(frame.astype(int) - want).mean() < 8
