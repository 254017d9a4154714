"""Many images at once: which are meant, where their results go, and the loop over them."""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import typer

from clipdiy_lab.cli.app import fresh, label_rows, refuse_inside, say
from clipdiy_lab.cli.options import wants_progress

_CLASSES: Final = "classes.txt"


def find_images(given: Sequence[str]) -> list[Path]:
    """Return the images that files, folders and patterns name; of a folder those that lie in it, by name.

    Raises
    ------
    ImageError
        If a folder or pattern names none.
    """
    from clipdiy_lab.datasets.images import ENDINGS
    from clipdiy_lab.errors import ImageError

    paths: list[Path] = []
    for text in given:
        path = Path(text)
        if path.is_dir():
            hits = sorted(one for one in path.iterdir() if one.suffix.lower() in ENDINGS and one.name[:1] != ".")
        elif glob.has_magic(text) and not path.exists():
            hits = [Path(name) for name in sorted(glob.glob(text))]
        else:
            hits = [path]  # whatever is wrong with a file is said when it is read
        if not hits:
            raise ImageError(
                f"{text!r} matches no image; give image files, a folder of images, or a pattern in quotes."
            )
        paths += hits
    return list(dict.fromkeys(paths))


def targets_of(images: Sequence[Path], out: Path, flat: bool) -> dict[Path, Path]:
    """Return where the result of every image goes: a folder, or a PNG where `flat`.

    Raises
    ------
    OutputError
        If two images share a name, or a result would take the place of an image.
    """
    from clipdiy_lab.errors import OutputError

    twice = [name for name, times in Counter(image.stem for image in images).items() if times > 1]
    if twice:
        same = " and ".join(repr(str(image)) for image in images if image.stem == twice[0])
        raise OutputError(f"{same} have the same name, so their results would too; rename one, or run them separately.")
    targets = {image: out / (f"{image.stem}.png" if flat else image.stem) for image in images}
    own = {image.resolve() for image in images}
    lost = next((target for target in targets.values() if target.resolve() in own), None)
    if lost is not None:
        raise OutputError(f"{lost} is one of the images and would be overwritten; choose another --out.")
    return targets


def segment_all(
    targets: dict[Path, Path],
    flat: bool,
    segmenter: Any,
    labels: Sequence[str],
    settings: Any,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Segment images one by one; leave results alone that are there, and go on behind images that cannot be read.

    Raises
    ------
    OutputError
        If a result cannot be written, or the folder has label maps of other labels.
    typer.Exit
        With 1 if an image could not be read.
    """
    from clipdiy_lab.errors import ImageError
    from clipdiy_lab.pipeline.watch import ImageProgress, interruptible
    from clipdiy_lab.views.report import label_table

    written = kept = failed = 0

    def so_far() -> str:
        return f"{written + kept} of {len(targets)} results are complete; run the same command again to continue."

    with interruptible(so_far), ImageProgress(len(targets), "segment", show=wants_progress()) as counting:
        if flat:
            _claim(next(iter(targets.values())).parent, segmenter, labels, settings)
        for image, target in targets.items():
            try:
                if target.exists() and not overwrite:
                    kept += 1
                else:
                    refuse_inside(image, target)
                    run = segmenter.segment(image, labels, settings)
                    (write_map if flat else write_all)(run, target, overwrite)
                    written += 1
                    if as_json:
                        facts = {"image": str(image), "result": str(target), "labels": label_rows(label_table(run))}
                        typer.echo(json.dumps(facts))
            except ImageError as error:
                failed += 1
                say(f"{image}: {error}", err=True)
            counting.seen()
    where = next(iter(targets.values())).parent
    left = f"; {kept} already existed (use --overwrite to recompute them)" if kept else ""
    say(f"{written} of {len(targets)} images segmented into {where}/{left}", err=True)
    if failed:
        say(f"{failed} images could not be read; see above", err=True)
        raise typer.Exit(1)


def write_all(run: Any, folder: Path, overwrite: bool) -> None:
    """Write everything about a run into a folder of its own, whole or not at all."""
    from clipdiy_lab.files import atomic_path
    from clipdiy_lab.pipeline.runs import save_run
    from clipdiy_lab.views.report import write_folder

    with fresh(folder, overwrite), atomic_path(folder, folder=True) as part:
        save_run(run, part / "run.nc")
        write_folder(run, part)


def write_map(run: Any, target: Path, overwrite: bool) -> None:
    """Write the label map of a run at the image's own size."""
    from clipdiy_lab.datasets.palette import write_label_png
    from clipdiy_lab.method import schema as s
    from clipdiy_lab.views.colors import label_colors

    write_label_png(target, run["labels_full"].values, label_colors(s.labels_of(run), s.background_of(run)))


def _claim(folder: Path, segmenter: Any, labels: Sequence[str], settings: Any) -> None:
    """Write the names of the labels beside their maps; refuse a folder that has other names."""
    from clipdiy_lab.errors import OutputError
    from clipdiy_lab.files import atomic_path, read_text
    from clipdiy_lab.method import schema as s

    names = "".join(f"{name}\n" for name in s.labels_of(segmenter.text_embeddings(labels, settings)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = read_text(folder / _CLASSES) if (folder / _CLASSES).exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{folder} cannot be used ({error}); choose another --out.") from error
    if held is None:
        with atomic_path(folder / _CLASSES) as part:
            part.write_text(names, encoding="utf-8")
    elif held != names:
        raise OutputError(f"{folder / _CLASSES} lists other labels than this run; choose another --out.")
