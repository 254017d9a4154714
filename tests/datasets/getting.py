"""What the tests of getting datasets share: archives, manifests that point to the server here, and the command line."""

import functools
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import yaml
from scenes_files import write_voc
from serving import serve

from clipdiy_lab.datasets.manifests import manifest_folder
from clipdiy_lab.datasets.scenes import VOC_NAMES, Scenes


def zipped(files):
    """{path: bytes} as the bytes of a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        for name, data in files.items():
            book.writestr(name, data)
    return buffer.getvalue()


def tarred(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as book:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            book.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def below(folder):
    """{path: bytes} of all files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def entry(server, name, data, unpack="zip", extract_to=".", how=None, known=True, access="open", mirrors=()):
    """Manifest's entry of an archive; the server is told to give it, `how` it is said."""
    server.plan[f"/{name}"] = how or [functools.partial(serve, data=data)]
    return {
        "name": name,
        "url": server.url(f"/{name}"),
        "mirrors": list(mirrors),
        "access": access,
        "bytes": len(data) if known else None,
        "md5": hashlib.md5(data).hexdigest() if known else None,
        "sha1": None,
        "sha256": hashlib.sha256(data).hexdigest() if known else None,
        "unpack": unpack,
        "extract_to": extract_to,
        "sources": ["this test"],
    }


def scene_files(place, count=4):
    """A few scenes in VOC's layout, as {path below the root: bytes}."""
    return below(write_voc(Scenes("val", length=count), place))


def own_manifest(path, archives, count):
    """Write a manifest of scenes in VOC's layout below `own/`."""
    content = {
        "id": path.stem,
        "title": "Scenes, to be fetched",
        "summary": "Scenes",
        "reader": "masks",
        "archives": archives,
        "root": "own",
        "layout": {
            "image": "JPEGImages/{id}.png",
            "mask": "SegmentationClass/{id}.png",
            "sources": ["me"],
        },
        "splits": {"val": {"images": count, "list": "ImageSets/Segmentation/val.txt", "source": "me"}},
        "label_names": ["background", *VOC_NAMES],
        "label_source": "me",
        "licence": {"images": "-", "annotations": "-", "redistribution": True, "url": "http://terms", "source": "me"},
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def shipped_manifest(name, path, archives, **counts):
    """Write a shipped manifest with archives of one's own and other counts of its splits."""
    content = yaml.safe_load((manifest_folder() / f"{name}.yaml").read_text())
    content["archives"] = archives
    content["splits"] = {
        split: facts | {"images": counts[split]} for split, facts in content["splits"].items() if split in counts
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def environment(**env):
    """Environment of a child process: no proxy, no bars, quick connections."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {**kept, "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1", **{name: str(value) for name, value in env.items()}}


def start(*arguments, **env):
    """Start `clipdiy-lab data ...` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "clipdiy_lab", "data", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(CLIPDIY_LAB_DATA=data_folder(), **env),
    )


def data(*arguments, **env):
    """Run `clipdiy-lab data ...`; gives exit code, stdout and stderr."""
    child = start(*arguments, **env)
    out, err = child.communicate(timeout=120)
    assert "Traceback" not in err, err
    return child.returncode, out, err


def data_folder() -> Path:
    return Path(os.environ["CLIPDIY_LAB_DATA"])


def without_times(folder):
    """Content of a data folder, to be compared: nothing but files, the records of archives included."""
    return below(folder), sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir())
