"""Getting a benchmark: its archives fetched, checked and unpacked below the data folder, and a record of each kept."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from clipdiy_lab.datasets.archives import extract
from clipdiy_lab.datasets.layouts import Listing, data_folder
from clipdiy_lab.datasets.manifest_schema import Archive, Manifest
from clipdiy_lab.downloads import download, is_offline
from clipdiy_lab.errors import ClipdiyError, DatasetError, OutputError
from clipdiy_lab.files import exclusive, flush
from clipdiy_lab.text import printable

_MARGIN: Final = 2  # times `bytes_about` is what a download may bring: such sizes are rounded, in units of 1000 or 1024
_IDENTITY: Final = ("url", "bytes", "md5", "sha1", "sha256", "unpack", "extract_to")


@dataclass(frozen=True)
class Step:
    """What one archive of a benchmark still needs.

    Attributes
    ----------
    archive : Archive
        Its facts.
    file : Path
        Where it is, or goes: below `archives_folder`, or, if it is not packed, straight to its place.
    kept : bool
        Whether that file is there.
    done : bool
        Whether all that it holds is in its place, by the record of an earlier run.
    """

    archive: Archive
    file: Path
    kept: bool
    done: bool

    @property
    def size(self) -> int:
        """Bytes of the archive, as far as they are known; else 0."""
        return self.archive.bytes or self.archive.bytes_about or 0

    @property
    def missing_bytes(self) -> int:
        """Bytes that are still to be fetched, as far as they are known."""
        part = self.file.with_name(self.file.name + ".part")
        have = part.stat().st_size if os.path.isfile(part) else 0
        return 0 if self.done or self.kept else max(0, self.size - have)


@dataclass(frozen=True)
class Record:
    """The files that were unpacked from an archive.

    Attributes
    ----------
    files : dict of str to int
        Path below the data folder -> bytes.
    sha256 : str or None
        The archive's hash as it was then, where nobody publishes one.
    """

    files: Mapping[str, int]
    sha256: str | None


def archives_folder() -> Path:
    """Folder, in the data folder, where archives are kept, and where those that need a login are put by hand."""
    return data_folder() / "archives"


def plan(manifest: Manifest) -> list[Step]:
    """Return what a benchmark still needs; only the records of earlier runs are opened."""
    return [_step(manifest, archive) for archive in manifest.archives]


def _step(manifest: Manifest, archive: Archive) -> Step:
    folder = archives_folder() if archive.unpack else data_folder() / archive.extract_to
    file = folder / archive.name
    done = bool(read_record(archive).files) and next(lost_files(manifest, archive), None) is None
    return Step(archive, file, os.path.isfile(file), done)


def fetch_dataset(manifest: Manifest, *, offline: bool = False, progress: bool = False) -> list[Step]:
    """Download, check and unpack what is still missing of a benchmark.

    Parameters
    ----------
    manifest : Manifest
        Which one.
    offline : bool
        Whether to use only archives that are already here, without any connection; also if ``CLIPDIY_LAB_OFFLINE=1``.
    progress : bool
        Whether to show progress bars on stderr.

    Returns
    -------
    list of Step
        What each archive needed at the beginning of the call. A second call finds everything done and does nothing.

    Raises
    ------
    DatasetError
        If an archive has to be downloaded by hand, because it needs a login or because the network must not be used; if
        an archive cannot be read, is damaged, or is not the expected one.
    DownloadError
        If no server provides the right file, or another file is in its place.
    OutputError
        If the disk is too small (checked before the download, as far as sizes are known), full, or not writable.

    Notes
    -----
    It can be interrupted at any time: downloads are resumed, files appear in their places only when they are
    complete, and an archive counts as done only when its record has been written, after the last of its files. If
    several processes fetch the same benchmark, one does the work and the others wait.
    """
    steps = plan(manifest)
    _check_by_hand(manifest, steps, offline or is_offline())
    _check_disk(manifest, steps)
    for step in steps:
        if step.done:
            _tidy(step)
            continue
        with _writing():
            archives_folder().mkdir(parents=True, exist_ok=True)
            with exclusive(_record_path(step.archive)):
                _carry_out(manifest, step, offline, progress)
    return steps


def lost_files(manifest: Manifest, archive: Archive) -> Iterator[str]:
    """Paths, below the data folder, of files that came out of an archive and are gone, or of another size now."""
    sizes: dict[str, set[int]] = defaultdict(set)  # two archives may hold the same file, such as a README
    for other in manifest.archives:
        for path, size in read_record(other).files.items():
            sizes[path].add(size)
    seen, folder = Listing(), data_folder()
    for path in read_record(archive).files:
        if not seen.has(folder / path) or (folder / path).stat().st_size not in sizes[path]:
            yield path


def _tidy(step: Step) -> None:
    """Remove leftovers of a run that was killed after it had finished its work."""
    record = _record_path(step.archive)
    if _stage(step).exists() or record.with_name(record.name + ".lock").exists():
        with contextlib.suppress(OSError), exclusive(record):
            shutil.rmtree(_stage(step))


def _carry_out(manifest: Manifest, step: Step, offline: bool, progress: bool) -> None:
    archive = step.archive
    now = _step(manifest, archive)
    if now.done:
        return  # by the process that was waited for
    _check_origin(now)
    download(
        _addresses(archive),
        step.file,
        size=archive.bytes,
        limit=_MARGIN * archive.bytes_about if archive.bytes_about else None,
        hashes=archive.hashes,
        offline=offline or archive.access == "login",
        progress=progress,
    )
    stage = _stage(step)
    shutil.rmtree(stage, ignore_errors=True)  # of a run that was killed
    try:
        stage.mkdir()
        _write_record(step, _put_in_place(step, stage / "content", progress), stage / "record")
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _check_origin(step: Step) -> None:
    """Refuse an archive that another manifest fetched under the same name, where no hash would tell."""
    archive, content = step.archive, _load_record(step.archive)
    if not (step.kept and archive.unpack) or archive.hashes or not content:
        return
    if content["archive"]["url"] not in _addresses(archive):
        raise DatasetError(
            f"{step.file} came from {content['archive']['url']}, but this manifest names {archive.url}. Delete it or "
            "move it away, and give one of the two another name in its manifest."
        )


def _addresses(archive: Archive) -> tuple[str, ...]:
    return (archive.url, *archive.mirrors)


def _put_in_place(step: Step, content: Path, progress: bool) -> dict[str, int]:
    """Path below the data folder -> size, of what the archive holds."""
    if not step.archive.unpack:
        return {step.file.relative_to(data_folder()).as_posix(): step.file.stat().st_size}
    with _bar(f"unpacking {step.archive.name}", progress) as show:
        extract(step.file, content, progress=show)
    return _merge(content, Path(step.archive.extract_to))


def _stage(step: Step) -> Path:
    """Return the folder for unfinished work; its name is fixed, so that the next run finds and clears it."""
    return archives_folder() / f"{step.archive.name}.unpacking"


def _merge(content: Path, place: Path) -> dict[str, int]:
    """Move files to their places, among those of other archives; each appears whole."""
    files, copies = {}, []
    for base, _, names in os.walk(content):
        inside = place / Path(base).relative_to(content)
        (data_folder() / inside).mkdir(parents=True, exist_ok=True)
        for name in names:
            source, target = Path(base, name), data_folder() / inside / name
            files[(inside / name).as_posix()] = source.stat().st_size
            try:
                os.replace(source, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # A folder below the data folder may be a link to another disk. The copy has a fixed name, so that the
                # next run after a kill writes over it.
                copies.append((shutil.copyfile(source, target.with_name(f"{name}.unpacking")), target))
    flush([copy for copy, _ in copies])
    for copy, target in copies:
        os.replace(copy, target)
    return files


def _identity(archive: Archive) -> dict[str, Any]:
    return archive.model_dump(include=set(_IDENTITY))


def read_record(archive: Archive) -> Record:
    """What came out of exactly this archive; an empty record if none is written, or it is damaged."""
    content = _load_record(archive)
    if content.get("archive") != _identity(archive):
        return Record({}, None)
    return Record(content["files"], content["sha256"])


def _load_record(archive: Archive) -> dict[str, Any]:
    """Content of the record under an archive's name, which may be that of another one; empty if it is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(_record_path(archive).read_text(encoding="utf-8"))
        files = {str(path): int(size) for path, size in content["files"].items()}
        return {"archive": dict(content["archive"]), "sha256": content["sha256"], "files": files}
    return {}


def _write_record(step: Step, files: Mapping[str, int], staged: Path) -> None:
    sha256 = None if step.archive.hashes else _sha256(step.file)
    content = {"archive": _identity(step.archive), "sha256": sha256, "files": dict(sorted(files.items()))}
    staged.write_text(json.dumps(content, indent=0), encoding="utf-8")
    with staged.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(staged, _record_path(step.archive))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}): check the disk, or download it to another one."
        ) from error


def _record_path(archive: Archive) -> Path:
    return archives_folder() / f"{archive.name}.json"


def _check_by_hand(manifest: Manifest, steps: Iterable[Step], offline: bool) -> None:
    """Refuse what only a person can get, with an instruction."""
    missing = [step for step in steps if not (step.done or step.kept)]
    if any(step.archive.access == "login" for step in missing):
        missing = [step for step in missing if step.archive.access == "login"]
        why = f"{manifest.title}: it can be had only with an account (terms: {manifest.licence.url}). Log in, and put"
    elif offline and missing:
        why = f"{manifest.id!r} is not complete, and offline mode forbids fetching the rest. Put"
    else:
        return
    files = "; ".join(f"{step.archive.url} ({_size_in_words(step)}) at {step.file}" for step in missing)
    raise DatasetError(f"{why} {files}. Then run `clipdiy-lab data fetch {shlex.quote(manifest.reference)}` again.")


def _size_in_words(step: Step) -> str:
    if step.archive.bytes:
        return f"{step.archive.bytes:,} bytes"
    return f"about {step.size:,} bytes" if step.size else "of unknown size"


def describe(manifest: Manifest, steps: Iterable[Step]) -> str:
    """Say in a sentence what is to be done, and how many bytes it takes."""
    todo = [step for step in steps if not step.done]
    if not todo:
        return (
            f"{manifest.id}: everything is in its place." if manifest.archives else f"{manifest.id}: nothing to fetch."
        )
    fetched = sum(step.missing_bytes for step in todo)
    unknown = [step.archive.name for step in todo if not step.size and not step.kept]
    beyond = f" (the size of {', '.join(unknown)} is not known)" if unknown else ""
    names = ", ".join(step.archive.name for step in todo)
    return (
        f"{manifest.id}: {names}; {fetched:,} bytes to fetch{beyond}, {needed_bytes(todo):,} or more of disk in "
        f"{data_folder()}, where {_free():,} are free."
    )


def needed_bytes(steps: Iterable[Step]) -> int:
    """Least room on the disk that the steps take: what is to be fetched, and unpacked at least as much as packed."""
    return sum(step.missing_bytes + (step.size if step.archive.unpack else 0) for step in steps if not step.done)


def _free() -> int:
    folder = data_folder().absolute()
    while not os.path.isdir(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _check_disk(manifest: Manifest, steps: Iterable[Step]) -> None:
    needed = needed_bytes(steps)
    if needed > (free := _free()):
        raise OutputError(
            f"{manifest.id!r} needs {needed:,} bytes or more in {data_folder()}, but only {free:,} are free there. "
            "Free disk space, or set CLIPDIY_LAB_DATA to a folder on another disk."
        )


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except ClipdiyError:
        raise
    except OSError as error:
        raise OutputError(
            f"Could not write {error.filename or data_folder()} ({error.strerror or error}). Free disk space, choose "
            "another data folder with CLIPDIY_LAB_DATA, or move away what is in the way; then run again."
        ) from error


@contextlib.contextmanager
def _bar(title: str, shown: bool) -> Iterator[Any]:
    """A progress bar as the callback that `extract` takes."""
    with tqdm(desc=printable(title), unit="B", unit_scale=True, disable=not shown) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
