"""Files of a store: the header, the shards, and the records that vouch for them.

::

    STORE/
      store.json                 header: format, version, key, ids, shard size; carries its own hash
      lock                       empty; writers share it, `prune` holds it alone
      shards/
        000000.0f3a92….zip       a Zarr 3 group of the first images; the name carries the start of its hash
        000000.ok                its record: key, file, bytes, sha256; written last
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipdiy_lab.errors import RunError, StoreError
from clipdiy_lab.files import atomic_path, read_text
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.consistency import require_attributes
from clipdiy_lab.pipeline.embeddings.identity import Key, brief, canonical, digest

FORMAT, VERSION = "clipdiy_lab embeddings", 1
HEADER, LOCK, SHARDS = "store.json", "lock", "shards"
STAGING = ".clipdiy-*.part"
"""Folders that `atomic_path` works in; a killed process leaves its own behind."""

_MAX_FEATURES = 2**16
_RECORD_BYTES = 2**12
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of a store: written before the first shard, never changed.

    Attributes
    ----------
    key : dict
        What its numbers depend on, see `key.key_of`.
    attrs : dict
        Attributes of every run made from it, see `Segmenter.provenance`; `dataset` is the dataset's name.
    ids : tuple of str
        Ids of the images, in their order.
    shard_size : int
        Images per shard; the last one may have fewer.
    """

    key: Key
    attrs: dict[str, Any]
    ids: tuple[str, ...]
    shard_size: int

    @property
    def shards(self) -> int:
        """Number of shards."""
        return math.ceil(len(self.ids) / self.shard_size)

    def images(self, shard: int) -> range:
        """Positions of a shard's images."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, len(self.ids)))


@dataclass(frozen=True, kw_only=True)
class Record:
    """What vouches for a shard: only files that a record names, with this hash, are part of the store."""

    key: str
    shard: int
    file: str
    bytes: int
    sha256: str


def shard_name(shard: int) -> str:
    """Start of the names of a shard's files."""
    return f"{shard:06d}"


def record_path(store: Path, shard: int) -> Path:
    """Where the record of a shard lies."""
    return store / SHARDS / f"{shard_name(shard)}.ok"


def claim_path(store: Path, shard: int) -> Path:
    """Where the writer of a shard puts its claim."""
    return store / SHARDS / f"{shard_name(shard)}.claim"


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_header(store: Path, header: Header) -> None:
    """Write the header of a new store."""
    content = {"format": FORMAT, "version": VERSION, **asdict(header), "ids": list(header.ids)}
    write_text(store / HEADER, canonical(content | {"sha256": digest(content)}))


def read_header(store: Path) -> Header:
    """Read the header of a store.

    Raises
    ------
    StoreError
        If there is no store, it has another version, or the header is damaged or makes no sense.
    """
    path = store / HEADER
    try:
        text = read_text(path, follow=False)
    except (FileNotFoundError, NotADirectoryError):
        what = "there is nothing" if not store.exists() else f"it has no {HEADER}"
        raise StoreError(f"{store} is not an embedding store: {what}. Make one with `clipdiy-lab embed`.") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null character in the name
        raise StoreError(f"{path} cannot be read ({error}); restore it, or make the store again.") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise StoreError(
            f"{path} is damaged, or does not belong to a store of clipdiy_lab; restore it, or make the store again."
        )
    if content.get("version") != VERSION:
        raise StoreError(
            f"The store {store} has format version {brief(content.get('version'))}, this clipdiy_lab reads {VERSION}; "
            "use the release that wrote it, or make the store again."
        )
    own_hash = content.pop("sha256", None)
    try:
        whole = own_hash == digest(content) and text == canonical(content | {"sha256": own_hash})
    except (ValueError, RecursionError):  # ValueError: half a character, which UTF-8 cannot hold
        whole = False
    if not whole:
        raise StoreError(f"{path} is damaged: it does not have the hash that was written with it; restore it.")
    attrs = content.get("attrs")
    schema = attrs.get("schema_version") if isinstance(attrs, dict) else None
    if s.as_whole(schema) != s.SCHEMA_VERSION:
        raise StoreError(
            f"The store {store} has schema version {brief(schema)}, this clipdiy_lab reads {s.SCHEMA_VERSION}; make "
            "the store again with `clipdiy-lab embed`."
        )
    try:
        return _checked(content)
    except (RunError, KeyError, TypeError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{path} is not valid ({what}); make the store again.") from error


def _checked(content: dict[str, Any]) -> Header:
    """Return the header, if it says what `write_header` could have said: its hash vouches for the bytes alone."""
    key, attrs, ids, shard_size = (content[name] for name in ("key", "attrs", "ids", "shard_size"))
    if not isinstance(key, dict) or not isinstance(attrs, dict):
        raise TypeError("its key and its attributes are not objects")
    if not isinstance(ids, list) or not ids or not all(isinstance(image_id, str) for image_id in ids):
        raise TypeError("its ids are not a list of strings")
    for name, value, most in (
        ("shard_size", shard_size, 2**63),
        ("embedding_dim", key["embedding_dim"], _MAX_FEATURES),
        ("images", key["images"], 2**63),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"{name} is {brief(value)}")
    config = json.loads(require_attributes(attrs).to_json())
    for name in ("encoder", "encoder_fingerprint", "saliency_source", "saliency_fingerprint", "dataset"):
        if not isinstance(attrs[name], str):
            raise TypeError(f"{name} is {brief(attrs[name])}")
    differs = [name for name in Config.knobs("encode") if name in key and key[name] != config[name]]
    if differs or key["images"] != len(ids) or key["ids_sha256"] != digest(ids):
        raise ValueError(f"its key is not that of its {differs[0] if differs else 'ids'}")
    return Header(key=key, attrs=attrs, ids=tuple(ids), shard_size=shard_size)


def write_record(store: Path, record: Record) -> None:
    """Write the record of a shard."""
    write_text(record_path(store, record.shard), canonical(asdict(record)))


def read_record(store: Path, header: Header, shard: int) -> Record | None:
    """Return the record of a shard; None where it has none under this header's key.

    Raises
    ------
    StoreError
        If there is a record that cannot be read, or that was changed.
    """
    path = record_path(store, shard)
    try:
        text = read_text(path, _RECORD_BYTES, follow=False)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(_damaged(path, str(error))) from error
    try:
        record = Record(**json.loads(text))
        changed = text != canonical(asdict(record))
        # The name of a file is made of it.
        changed = changed or not isinstance(record.bytes, int) or not _SHA256.fullmatch(record.sha256)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(_damaged(path, "it is not a record")) from error
    if changed:
        raise StoreError(_damaged(path, "it was changed"))
    if record.key != digest(header.key):
        return None
    if record.shard != shard or record.file != shard_file(shard, record.sha256):
        raise StoreError(_damaged(path, "it belongs to another shard, or was changed"))
    return record


def recorded(store: Path, header: Header) -> list[int]:
    """Shards that have a record, whatever it says; a header may speak of millions that nobody wrote."""
    try:
        names = os.listdir(store / SHARDS)
    except OSError:
        return []
    numbers = (re.fullmatch(r"(\d{6,18})\.ok", name) for name in names)
    shards = {int(number[1]) for number in numbers if number}
    return sorted(shard for shard in shards if shard < header.shards)


def shard_file(shard: int, sha256: str) -> str:
    """Name of a shard's file. Other bytes have another name, so that no writer ever writes over another's shard."""
    return f"{shard_name(shard)}.{sha256[:16]}.zip"


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged ({why}); run `clipdiy-lab embed` again, which writes damaged shards anew."
