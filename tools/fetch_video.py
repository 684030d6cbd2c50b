"""Benchmark clips as shards: `python tools/fetch_video.py --out data/video`.

Taken from two pinned packages; nothing of it is shipped. MP4 of 64 pixels a side, ``train/`` and ``val/``:

    bunny   Big Buck Bunny (CC-BY 3.0, (c) copyright 2008, Blender Foundation / www.bigbuckbunny.org), from the source
            archive of moviepy 2.2.1: two seconds at 6 frames a second, one clip a second, without labels. Train is
            0:15 to 7:00, val 7:10 to 8:05.
    motion  Ego-motion in VizDoom 1.3.2 (MIT; levels of Freedoom, BSD): 8 frames of one of six moves through a level
            without opponents, ``cls`` the move. Train is Freedoom 1, val Freedoom 2; moves that were blocked are left
            out. One frame tells little of the move.

Needs ``pip``; VizDoom goes into a folder of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from mmask.data.pack import CLASSES, pack, plan_shards
from mmask.data.rows import Row, safe_key
from mmask.data.sidecar import build_index

MOVIE = ("moviepy==2.2.1", "--no-binary", "moviepy")
MOVIE_SHA256 = "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1"
ENGINE = ("vizdoom==1.3.2", "--only-binary", "vizdoom")
SIDE, QUALITY, SHARD = 64, 20, 500
BUNNY_RATE, BUNNY_FRAMES, FILM_RATE = 6, 12, 24
BUNNY = {"train": (15, 420), "val": (430, 485)}  # seconds
MOVES = ("forward", "backward", "turn left", "turn right", "step left", "step right")
TICS, MOTION_FRAMES, MOTION_RATE = 4, 8, 9  # 35 tics a second
LEVELS = {
    "train": ("freedoom1.wad", [f"E{part}M{level}" for part in (1, 2, 3, 4) for level in range(1, 9)]),
    "val": ("freedoom2.wad", [f"MAP{level:02d}" for level in range(1, 31)]),
}
CLIPS = {"train": 48, "val": 24}  # of each level
LEAST_WAY, LEAST_TURN = 60.0, 30.0  # units of the level, degrees
FAR = 12  # of the depth buffer, whose values are bytes


@dataclass(frozen=True)
class ClipPacker:
    """A clip and what is known about it; the columns hold both."""

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """``mp4``, ``json`` and, where there is one, ``cls``."""
        about = {"json": json.dumps(row["about"]).encode()}
        label = {} if row["class"] is None else {"cls": str(row["class"]).encode()}
        return {"mp4": row["clip"], **about, **label}


def encode(frames: list[np.ndarray], rate: int) -> bytes:
    """(H, W, 3) uint8 frames as H.264 in MP4, a key frame every 8 frames."""
    to = io.BytesIO()
    with av.open(to, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(rate))
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.options = {"crf": str(QUALITY), "g": "8", "threads": "1"}
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return to.getvalue()


def download(package: tuple[str, ...], folder: Path, sha256: str = "") -> Path:
    """The archive of a package, checked."""
    stem = package[0].partition("==")[0]
    if not list(folder.glob(f"{stem}-*")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", *package[1:]]
        subprocess.run([*command, package[0]], cwd=folder, check=True)
    (archive,) = (path for path in folder.glob(f"{stem}-*") if path.is_file())
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if sha256 and found != sha256:
        raise SystemExit(f"{archive.name}: sha256 is {found}, not {sha256}")
    return archive


def bunny(folder: Path) -> Iterator[Row]:
    """Two seconds from every second of the film, the middle square of the frames."""
    with tarfile.open(download(MOVIE, folder, MOVIE_SHA256)) as archive:
        name = next(one for one in archive.getnames() if "moviepy_10_minutes/" in one and one.endswith(".zip"))
        stored = archive.extractfile(name)
        assert stored is not None
        with zipfile.ZipFile(io.BytesIO(stored.read())) as inner:
            film = inner.read(max(inner.infolist(), key=lambda one: one.file_size))
    step = FILM_RATE // BUNNY_RATE
    for split, (start, end) in BUNNY.items():
        frames = [frame for number, frame in _between(film, start, end) if number % step == 0]
        for second in range(end - start - 1):
            part = frames[second * BUNNY_RATE : second * BUNNY_RATE + BUNNY_FRAMES]
            about = {"start": start + second, "seconds": BUNNY_FRAMES / BUNNY_RATE}
            columns = {"clip": encode(part, BUNNY_RATE), "about": about, "class": None}
            key = safe_key(f"{start + second:04d}")
            yield Row(Path(key), key, columns, split)


def _between(film: bytes, start: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
    """Number from ``start`` on, and the middle square of each frame, SIDE a side."""
    with av.open(io.BytesIO(film)) as container:
        stream: Any = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(int(start / stream.time_base), stream=stream, backward=True)
        for frame in container.decode(stream):
            number = round(float((frame.pts - (stream.start_time or 0)) * stream.time_base) * FILM_RATE)
            if number >= end * FILM_RATE:
                return
            if number >= start * FILM_RATE:
                wide = round(frame.width * SIDE / frame.height / 2) * 2
                small = frame.reformat(width=wide, height=SIDE, format="rgb24").to_ndarray()
                left = (wide - SIDE) // 2
                yield number - start * FILM_RATE, np.ascontiguousarray(small[:, left : left + SIDE])


def motion(folder: Path) -> Iterator[Row]:
    """Moves through every level, from places that random walks lead to."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target"]
    subprocess.run([*command, str(folder / "engine"), str(download(ENGINE, folder))], check=True)
    sys.path.insert(0, str(folder / "engine"))
    with chdir(folder):  # the engine leaves its settings where it was started
        for split, (wad, levels) in LEVELS.items():
            for level in levels:
                yield from _walk(folder / "engine/vizdoom" / wad, level, split)


def _walk(wad: Path, level: str, split: str) -> Iterator[Row]:
    """At most CLIPS of one level, as many of each move as there can be; each from another place of a random walk."""
    game, rng = _game(wad, level), np.random.default_rng([len(split), *level.encode()])
    found = [0] * len(MOVES)
    for tried in range(6 * CLIPS[split]):
        if game.is_episode_finished() or tried % 20 == 0:
            game.new_episode()
        move = int(np.argmin(found))
        if found[move] == CLIPS[split] // len(MOVES):
            break
        frames = _recorded(game, move) if _wander(game, rng) else []
        if frames:
            key = safe_key(f"{level}/{move}/{found[move]:03d}")
            about = {"level": level, "move": MOVES[move]}
            yield Row(Path(key), key, {"clip": encode(frames, MOTION_RATE), "about": about, "class": move}, split)
            found[move] += 1
    game.close()


def _game(wad: Path, level: str) -> Any:
    """A level without opponents, weapon and display."""
    import vizdoom

    game, buttons = vizdoom.DoomGame(), vizdoom.Button
    game.set_doom_game_path(str(wad))
    game.set_doom_map(level)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    for hide in (game.set_render_hud, game.set_render_weapon, game.set_render_crosshair, game.set_render_messages,
                 game.set_render_screen_flashes, game.set_window_visible, game.set_sound_enabled):
        hide(False)
    game.set_available_buttons([
        buttons.MOVE_FORWARD, buttons.MOVE_BACKWARD, buttons.TURN_LEFT, buttons.TURN_RIGHT, buttons.MOVE_LEFT,
        buttons.MOVE_RIGHT, buttons.USE,
    ])
    game.set_depth_buffer_enabled(True)
    game.set_episode_timeout(0)
    game.add_game_args("-nomonsters")
    game.set_seed(sum(level.encode()))
    game.init()
    return game


def _press(game: Any, button: int, tics: int) -> None:
    game.make_action([float(one == button) for one in range(7)], tics)


def _wander(game: Any, rng: np.random.Generator) -> bool:
    """Some turns and steps, doors opened on the way; then the player turns to where it is far, if anywhere, and stands
    still."""
    for _ in range(int(rng.integers(1, 4))):
        _press(game, int(rng.integers(2, 4)), int(rng.integers(5, 45)))
        _press(game, 6, 2)
        _press(game, 0, int(rng.integers(10, 50)))
    for _ in range(8):
        game.make_action([0.0] * 7, 8)
        state = game.get_state()
        if state is not None and np.median(state.depth_buffer[40:80]) >= FAR:
            return True
        _press(game, 2, int(rng.integers(6, 14)))
    return False


def _pose(game: Any) -> tuple[float, float, float]:
    """x, y, and the angle in degrees."""
    import vizdoom

    names = (vizdoom.GameVariable.POSITION_X, vizdoom.GameVariable.POSITION_Y, vizdoom.GameVariable.ANGLE)
    x, y, angle = (float(game.get_game_variable(name)) for name in names)
    return x, y, angle


def _recorded(game: Any, move: int) -> list[np.ndarray]:
    """The frames of a move; none where the player died or was blocked."""
    frames, start = [], _pose(game)
    for _ in range(MOTION_FRAMES):
        _press(game, move, TICS)
        state = game.get_state()
        if state is None:
            return []
        frames.append(state.screen_buffer)
    x, y, angle = (now - before for now, before in zip(_pose(game), start, strict=True))
    turned = abs((angle + 180) % 360 - 180)
    if (math.hypot(x, y) < LEAST_WAY) if "turn" not in MOVES[move] else (turned < LEAST_TURN):
        return []
    return [_square(frame) for frame in frames]


def _square(frame: np.ndarray) -> np.ndarray:
    """The middle square of (120, 160, 3), SIDE a side."""
    whole = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:, 20:140]), format="rgb24")
    return whole.reformat(width=SIDE, height=SIDE, interpolation="AREA").to_ndarray()


SETS: dict[str, tuple[Callable[[Path], Iterator[Row]], tuple[str, ...]]] = {
    "bunny": (bunny, ()), "motion": (motion, MOVES),
}


def write(name: str, out: Path, cache: Path, jobs: int) -> None:
    """Fetch and pack one set."""
    make, classes = SETS[name]
    rows = list(make(cache))
    for split in ("train", "val"):
        where, packer = out / name / split, ClipPacker()
        part = [row for row in rows if row.split == split]
        done = pack(plan_shards(part, packer, shard_count=SHARD), packer, where, jobs=jobs)
        build_index([str(where / shard.name) for shard in done])
        if classes:
            (where / CLASSES).write_text(json.dumps(classes, indent=0) + "\n", encoding="utf-8")
        print(f"{name}/{split}: {sum(shard.samples for shard in done)} clips in {len(done)} shards")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"{', '.join(SETS)} [all]")
    parser.add_argument("--out", type=Path, default=Path("data/video"))
    parser.add_argument("--cache", type=Path, help="where archives are kept (about 100 MB)")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    unknown = set(options.sets) - set(SETS)
    if unknown:
        parser.error(f"no set is called {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    with tempfile.TemporaryDirectory() as name:
        cache = (options.cache or Path(name)).resolve()
        cache.mkdir(parents=True, exist_ok=True)
        for one in options.sets or SETS:
            write(one, options.out, cache, options.jobs)


if __name__ == "__main__":
    main()
