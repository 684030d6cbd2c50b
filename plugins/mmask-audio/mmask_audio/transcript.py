"""What was said: the transcript of a sample."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mmask.api import Keys, Sample, SampleError


@dataclass(kw_only=True)
class TranscriptDecoder:
    """Makes the field ``transcript``, a string; a batch holds a list of them.

    part: the text part, or a value inside a JSON part, ``json.text``. required: whether a sample without one is a
    fault; otherwise its transcript is empty. Raises SampleError.
    """

    part: str = "txt"
    required: bool = True

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, str]:
        """``transcript``, its white space single."""
        try:
            text = " ".join(self._text(sample).split())
        except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            raise SampleError(f"{sample.id}.{self.part}: {type(error).__name__}: {error}") from error
        if self.required and not text:
            raise SampleError(
                f"{sample.id} has no transcript in '{self.part}'; its parts are {', '.join(sorted(sample.parts))}"
            )
        return {"transcript": text}

    def _text(self, sample: Sample) -> str:
        name, _, inside = self.part.partition(".")
        data = sample.parts.get(self.part)
        if data is None and inside:
            data = sample.parts.get(name)
            value = json.loads(data).get(inside) if data is not None else None
            return "" if value is None else str(value)
        return "" if data is None else data.decode("utf-8-sig")
