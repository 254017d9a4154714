"""Writing a store. The unit of work is one shard: any process, on any machine that sees the folder, may do it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from clipdiy_lab.datasets.images import content_hash
from clipdiy_lab.datasets.sample import Dataset, Sample, ahead, as_dataset, ids_of
from clipdiy_lab.errors import ConfigError, OutputError, StoreError
from clipdiy_lab.files import atomic_path, claim, held
from clipdiy_lab.method.config import Config, as_config
from clipdiy_lab.pipeline import cluster
from clipdiy_lab.pipeline.caution import of_dataset, warn
from clipdiy_lab.pipeline.embeddings import layout, variables
from clipdiy_lab.pipeline.embeddings.identity import digest, key_of, require_equal
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore, read_shard, variables_of
from clipdiy_lab.pipeline.embeddings.shards import Arrays, pack
from clipdiy_lab.pipeline.prepared import Prepared
from clipdiy_lab.pipeline.segmenter import Segmenter, as_segmenter
from clipdiy_lab.pipeline.shipping import SentSegmenter
from clipdiy_lab.pipeline.watch import UNWATCHED, ImageProgress, Watch, interruptible

if TYPE_CHECKING:
    from distributed import Client

SHARD_SIZE = 64
"""Images per shard (about 8 MB with ViT-B/32). An interrupted run loses at most one; a reader loads one at a time."""


def embed(
    segmenter: Segmenter,
    dataset: Dataset,
    store: str | PathLike[str],
    config: Config | None = None,
    *,
    shard_size: int | None = None,
    limit: int | None = None,
    progress: bool = False,
    watch: Watch = UNWATCHED,
    client: Client | None = None,
) -> EmbeddingStore:
    """Encode a dataset once and store the embeddings of every grid, the saliency, and the size and hash of every image.

    An existing store is completed: intact shards are kept, missing and damaged ones are written. Several processes may
    do this at the same time.

    Parameters
    ----------
    segmenter : Segmenter
    dataset : Dataset
        Its images and masks are not copied.
    store : path
        Folder of the store; created if it does not exist.
    config : Config, optional
        Its encode knobs are used. Default: `Config()`.
    shard_size : int, optional
        Images per shard. Default: that of the existing store, otherwise 64.
    limit : int, optional
        Use only the first images.
    progress : bool
        Print the expected size to stderr, and show a progress bar.
    watch : Watch, optional
        Notified of every image; it can stop the work. Finished shards are kept.
    client : distributed.Client, optional
        Its workers write the shards, see `lab.connect`. All machines must see the store and the dataset under the same
        paths.

    Returns
    -------
    EmbeddingStore
        The finished store.

    Raises
    ------
    StoreError
        If the folder is not a store, or is a store with other settings; the message says what differs.
    OutputError
        If the disk is too small, or the folder cannot be written to.
    ClusterError
        If the workers have other versions, see other files, or fail repeatedly.
    StoppedError
        If the watch stops it.
    """
    job = plan(segmenter, dataset, store, config, shard_size=shard_size, limit=limit)
    warn(of_dataset(job.segmenter.encoder, job.dataset))
    if progress:
        tqdm.write(job.describe(), file=sys.stderr)
    job.begin()
    shards = range(job.header.shards)
    counting = ImageProgress(len(job.header.ids), dataset.name, show=progress, watch=watch)
    with interruptible(job.kept), counting:
        if client is None:
            # First whatever nobody else is at, then what others were at: they may have been killed.
            for shard in [shard for shard in shards if not job.write(shard, wait=False, counting=counting)]:
                job.write(shard, wait=True, counting=counting)
        else:
            for shard, _ in cluster.run(client, SentJob.of(job), shards):
                counting.seen(len(job.header.images(shard)))
    return EmbeddingStore(store)


def plan(
    segmenter: Segmenter,
    dataset: Dataset,
    store: str | PathLike[str],
    config: Config | None = None,
    *,
    shard_size: int | None = None,
    limit: int | None = None,
) -> Job:
    """Say what `embed` will do, without writing anything; a store that is there is checked against it.

    Raises
    ------
    StoreError
        If the folder is something else than a store, or a store of something else.
    ConfigError
        If the limit or the shard size is not positive.
    ModelError, DatasetError
        If `segmenter` or `dataset` is something else, such as a name.
    """
    segmenter, dataset = as_segmenter(segmenter), as_dataset(dataset)
    config, path = as_config(config), Path(store)
    for name, value in {"limit": limit, "shard_size": shard_size}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name} is {value!r}; expected a positive number of images, or None.")
    ids = _ids(dataset, len(dataset) if limit is None else min(limit, len(dataset)))
    existing = layout.read_header(path) if _is_begun(path) else None
    size = shard_size or (existing.shard_size if existing else SHARD_SIZE)
    attrs = segmenter.provenance(config) | {"dataset": dataset.name}
    header = layout.Header(key=key_of(segmenter, config, ids), attrs=attrs, ids=ids, shard_size=size)
    if existing:
        _require_same(existing, header, path)
    return Job(segmenter, dataset, path, existing or header)


@dataclass(frozen=True)
class Job:
    """The work of filling a store.

    Attributes
    ----------
    segmenter : Segmenter
    dataset : Dataset
    path : Path
    header : Header
        What the store is; `header.shards` is the number of units of work.
    """

    segmenter: Segmenter
    dataset: Dataset
    path: Path
    header: layout.Header

    @property
    def variables(self) -> dict[str, variables.StoredVariable]:
        """Arrays of the store, by name."""
        return variables_of(self.header)

    @property
    def missing(self) -> tuple[int, ...]:
        """Shards that no record vouches for."""
        shards = range(self.header.shards)
        return tuple(i for i in shards if not os.path.exists(layout.record_path(self.path, i)))

    def describe(self) -> str:
        """Say how many bytes the arrays will take, and how many of them are still to be written."""
        lines = [f"{len(self.header.ids):,} images in {self.header.shards:,} shards:"]
        parts = {name: variable.bytes_per_image * len(self.header.ids) for name, variable in self.variables.items()}
        lines += [f"  {name} {size:,} bytes" for name, size in parts.items()]
        lines.append(f"together {sum(parts.values()):,} bytes, of them {self.bytes_missing():,} to be written")
        return "\n".join(lines)

    def bytes_missing(self) -> int:
        """Bytes of the arrays of all missing shards."""
        images = sum(len(self.header.images(shard)) for shard in self.missing)
        return images * variables.bytes_per_image(self.variables)

    def begin(self) -> None:
        """Check the disk, and write the header where there is none; two that begin at once agree on one.

        Raises
        ------
        OutputError
            If the disk is too small, or the folder cannot be written to.
        StoreError
            If somebody began a store of something else meanwhile.
        """
        self._check_disk()
        if _is_begun(self.path) and (self.path / layout.SHARDS).is_dir():
            return
        try:
            (self.path / layout.SHARDS).mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            raise OutputError(
                f"Cannot create the store {str(self.path)!r} ({error}); choose another folder."
            ) from error
        with held(self.path / layout.LOCK, alone=True):
            if _is_begun(self.path):
                _require_same(layout.read_header(self.path), self.header, self.path)
            else:
                layout.write_header(self.path, self.header)

    def kept(self) -> str:
        """Say what is kept of a store that is being filled."""
        finished = self.header.shards - len(self.missing)
        return (
            f"{finished} of {self.header.shards} shards (up to {self.header.shard_size} images each) are kept in "
            f"{str(self.path)!r}; run the same command again to embed the rest."
        )

    def write(self, shard: int, *, wait: bool, counting: ImageProgress | None = None) -> bool:
        """Write one shard, unless it exists and is intact.

        Parameters
        ----------
        shard : int
        wait : bool
            Whether to wait for another writer that is at this shard.
        counting : ImageProgress, optional
            Told of every image of the shard, those that were there included.

        Returns
        -------
        bool
            Whether the shard is there now; False only if another writer is at it.
        """
        counting = counting or ImageProgress()
        if self._is_done(shard):
            counting.seen(len(self.header.images(shard)))
            return True
        with (
            held(self.path / layout.LOCK, alone=False),
            claim(layout.claim_path(self.path, shard), wait=wait) as mine,
        ):
            if not mine:
                return False
            if self._is_done(shard):  # another writer has done it meanwhile
                counting.seen(len(self.header.images(shard)))
            else:
                self._commit(shard, pack(self._encode(shard, counting), self._dims(), self._attrs(shard)))
        return True

    def _check_disk(self) -> None:
        place = next(
            folder for folder in (self.path.absolute(), *self.path.absolute().parents) if os.path.exists(folder)
        )
        free, needed = shutil.disk_usage(place).free, self.bytes_missing()
        if needed > free:
            raise OutputError(
                f"The store {str(self.path)!r} needs {needed:,} more bytes, but the disk has only {free:,} free. "
                "Free some "
                "space, choose another folder, or embed fewer images."
            )

    def _is_done(self, shard: int) -> bool:
        """Whether a shard is there, whole, and made of the images that the dataset has now."""
        try:
            arrays = read_shard(self.path, self.header, shard)
        except StoreError:
            return False  # damaged: written anew
        if arrays is None:
            return False
        for position, recorded in zip(self.header.images(shard), arrays[variables.HASH], strict=True):
            sample = self._sample(position)
            if content_hash(sample.image) != recorded.tobytes().hex():
                raise StoreError(
                    f"The image {sample.id!r} is not the one from which the store {self.path} was made. Restore the "
                    "original image, or name another folder."
                )
        return True

    def _sample(self, position: int) -> Sample:
        sample = self.dataset[position]
        if sample.id != self.header.ids[position]:
            raise StoreError(
                f"The dataset now returns {sample.id!r} at position {position}, but listed "
                f"{self.header.ids[position]!r} before. Open it again."
            )
        return sample

    def _encode(self, shard: int, counting: ImageProgress) -> Arrays:
        images = self.header.images(shard)
        arrays = {n: np.empty((len(images), *variable.shape), variable.dtype) for n, variable in self.variables.items()}
        config = Config.from_json(self.header.attrs["config"])

        def read(position: int) -> Prepared:
            return self.segmenter.prepare(self._sample(position).image, config)

        for row, ready in enumerate(ahead(read, images)):
            encoding = self.segmenter.encoding(ready, config, watch=counting.watch.silent)
            for grid, vectors in encoding.embeddings.items():
                arrays[variables.of_grid("embedding", grid)][row] = vectors.numpy()
            if encoding.saliency is not None:
                arrays[variables.SALIENCY][row] = variables.to_byte(encoding.saliency.numpy())
            arrays[variables.HEIGHT][row], arrays[variables.WIDTH][row] = encoding.size
            arrays[variables.HASH][row] = np.frombuffer(bytes.fromhex(encoding.provenance["image_sha256"]), np.uint8)
            counting.seen()
        return arrays

    def _dims(self) -> dict[str, tuple[str, ...]]:
        return {name: variable.dims for name, variable in self.variables.items()}

    def _attrs(self, shard: int) -> dict[str, Any]:
        ids = [self.header.ids[i] for i in self.header.images(shard)]
        return {"key": digest(self.header.key), "shard": shard, "ids": ids}

    def _commit(self, shard: int, data: bytes) -> None:
        """Write a shard, and only when it lies on the disk the record that vouches for it."""
        sha256 = hashlib.sha256(data).hexdigest()
        file = layout.shard_file(shard, sha256)
        with atomic_path(self.path / layout.SHARDS / file) as part:
            part.write_bytes(data)
        record = layout.Record(key=digest(self.header.key), shard=shard, file=file, bytes=len(data), sha256=sha256)
        layout.write_record(self.path, record)


@dataclass(frozen=True)
class SentJob:
    """A `Job` on its way to a worker, for `cluster.run`; its tasks are numbers of shards."""

    segmenter: SentSegmenter
    dataset: Dataset
    path: Path
    header: layout.Header

    @classmethod
    def of(cls, job: Job) -> SentJob:
        """Return what has to be sent for a job."""
        return cls(SentSegmenter.of(job.segmenter), job.dataset, job.path.absolute(), job.header)

    def open(self) -> Callable[[int], None]:
        """Return what writes a shard."""
        cluster.require_path(self.path / layout.HEADER)
        _require_same(layout.read_header(self.path), self.header, self.path)
        job = Job(self.segmenter.build(), self.dataset, self.path, self.header)

        def write(shard: int) -> None:
            cluster.require_files(self.dataset, self.header.images(shard).start)
            job.write(shard, wait=True)

        return write


def _is_begun(path: Path) -> bool:
    """Whether a store was begun here.

    Raises
    ------
    StoreError
        If something else is here.
    """
    # os.path, because a name that cannot be does not exist for it, where Path raises.
    if not os.path.exists(path):
        return False
    if not path.is_dir():
        raise StoreError(f"{path} is a file; expected the folder of a store, or a new one.")
    if (path / layout.HEADER).exists():
        return True
    ours = {layout.LOCK, layout.SHARDS}
    foreign = [entry.name for entry in path.iterdir() if entry.name not in ours and not entry.match(layout.STAGING)]
    if foreign:
        raise StoreError(f"{path} is not a store, and it is not empty (it has {foreign[0]!r}); name a new folder.")
    return False


def _require_same(existing: layout.Header, requested: layout.Header, path: Path) -> None:
    require_equal(
        existing.key | {"shard_size": existing.shard_size},
        requested.key | {"shard_size": requested.shard_size},
        str(path),
    )


def _ids(dataset: Dataset, length: int) -> tuple[str, ...]:
    """Ids of the first samples, without decoding images where the dataset can tell them."""
    if not length:
        raise StoreError(f"The dataset {dataset.name!r} has no images; there is nothing to embed.")
    return ids_of(dataset, length)
