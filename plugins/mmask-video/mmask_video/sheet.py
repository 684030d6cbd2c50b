"""A sheet of stored videos: a few frames of each, how long it is, and what is written about it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mmask.api import Sample, SampleError, StoredSheet
from mmask_video.container import Video
from mmask_video.decode import EXTENSIONS
from mmask_video.sampling import uniform


class VideoSheet(StoredSheet):
    """Draws samples that are not decoded yet: ``batch.fields`` maps parts to lists of bytes or None.

    side: of a frame on the sheet, in pixels. frames: of each video, evenly spread. columns: videos in a row. What
    cannot be decoded is a crossed box with the reason.
    """

    parts = EXTENSIONS

    def __init__(self, *, side: int = 72, frames: int = 4, columns: int = 3) -> None:
        super().__init__((side * frames, side), columns, ("caption", "name", "label"))
        self.side, self.frames = side, frames

    def picture(self, sample: Sample) -> tuple[np.ndarray, str]:
        """Whole frames side by side, and how many there are of what size and length."""
        part = next((one for one in EXTENSIONS if one in sample.parts), None)
        if part is None:
            raise SampleError(f"no video among its parts {', '.join(sorted(sample.parts))}")
        with Video(sample.parts[part]) as video:
            survey = video.survey
            found = video.frames(uniform(len(survey), self.frames, 1, None).tolist())
        strip = Image.new("RGB", (self.side * self.frames, self.side), "#eee")
        for number, frame in enumerate(found):
            picture = Image.fromarray(frame)
            scale = self.side / max(picture.size)
            picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
            left = number * self.side + (self.side - picture.width) // 2
            strip.paste(picture, (left, (self.side - picture.height) // 2))
        seconds = float(survey.times[-1] - survey.times[0]) * survey.tick
        return np.asarray(strip), f"{len(survey)} frames of {survey.width}x{survey.height}, {seconds:.1f} s"
