"""The data section of a recipe: sources, and how samples become batches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from mmask.recipe.section import Section, Spec


class Source(Section):
    """One set of shards."""

    url: str
    """A tar, a brace pattern (``train-{000..127}.tar``), a folder, an http(s) or any fsspec URL."""
    name: str = ""
    """The source's name in sample ids; defaults to ``s0``, ``s1``, ..."""
    weight: float = Field(1.0, gt=0)
    """Its share of a mixture."""
    filters: list[str] = Field(default_factory=list)
    """Conditions on index columns that a sample must all meet (``width >= 256``, ``cls in 1,2``)."""
    join: list[str] = Field(default_factory=list)
    """More URLs with as many shards, whose parts join the samples of the same key."""
    columns: list[str] = Field(default_factory=list)
    """Metadata columns to index for the filters (``width=json.width``)."""


class PackSection(Section):
    """Packs: samples of different lengths put together up to a capacity, so that each step has as many places."""

    by: str
    """The ragged field whose length counts."""
    length: PositiveInt
    """Capacity of a pack. A longer sample is cut into chunks that are samples of their own."""
    window: PositiveInt = 1024
    """Samples (about) of a closed window in which packs are made: more fill better and read further ahead."""


class BucketSection(Section):
    """Buckets: samples of like length together, so that padding is small."""

    by: str
    """The ragged field whose length counts."""
    size: PositiveInt
    """Samples of a bucket; ``data.batch_size`` is a multiple of it and of ranks."""
    window: PositiveInt = 1024
    """Samples (about) of a closed window inside which they are sorted."""
    jitter: float = Field(0.1, ge=0, lt=1)
    """Lengths vary by up to this share before they are sorted, so that buckets differ in every epoch."""


class DataSection(Section):
    """Where samples come from and how they are read."""

    dataset: str = ""
    """A dataset component that gives the sources when none are named (a plugin's sample shards)."""
    train: list[Source] = Field(default_factory=list)
    """Training sources; more than one is a mixture by weight."""
    val: list[Source] = Field(default_factory=list)
    """Held-out sources for the fixed-plan validation loss and the pictures."""
    decode: dict[str, Spec] = Field(default_factory=dict)
    """Decoders by the name of what they make, run in order on each sample."""
    batch_size: PositiveInt = 64
    """Samples (with ``pack``: packs) of one optimizer step, over all ranks and micro-batches."""
    pack: PackSection | None = None
    """Pack samples of different lengths: ``{by = "text", length = 512}``."""
    bucket: BucketSection | None = None
    """Batch samples of like length: ``{by = "text", size = 16}``."""
    workers: int = Field(1, ge=0)
    """Loader processes per rank; 0 decodes in the training process."""
    worker_start: Literal["auto", "fork", "spawn"] = "auto"
    """How loader processes begin: copied (``fork``), afresh (``spawn``: slower, and safe beside threads and on macOS),
    or ``auto``, fork on Linux."""
    streams: PositiveInt = 64
    """C, the number of canonical streams an epoch is cut into. Part of the order: keep it when resuming."""
    shuffle: int = Field(4096, ge=0)
    """Samples in a shuffle block; 0 reads in stored order."""
    group: PositiveInt = 1
    """Consecutive positions that ranks and micro-batches never part (pairs, negatives within a group)."""
    fault_budget: float = Field(0.01, ge=0, le=1)
    """The share of unreadable samples above which the run stops."""

    @model_validator(mode="after")
    def _one_of_them(self) -> DataSection:
        if self.pack is not None and self.bucket is not None:
            raise ValueError("give data.pack or data.bucket, not both")
        if self.bucket is not None and self.batch_size % self.bucket.size:
            raise ValueError(f"data.batch_size {self.batch_size} is no multiple of data.bucket.size {self.bucket.size}")
        return self
