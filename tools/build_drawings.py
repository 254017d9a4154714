"""Rebuild the atlases of drawings that the embedded world is made of.

Needs Node's ``npm`` on the path and, in an environment of its own, ``pip install resvg-py "pillow>=12.3" "numpy>=2"``.
The atlases are part of the repository: this is only for changing the choice of drawings (``tools/drawings.txt``)::

    python tools/build_drawings.py --cache DIR
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "clipdiy_lab" / "assets" / "drawings"
SIDE = 96  # the longer side of every drawing
COLUMNS = 16
OVERSAMPLING = 3
# family -> npm package and exact version; the order is the order of the index
FAMILIES = {
    "noto": "noto@1.2.9",
    "noto-v1": "noto-v1@1.2.5",
    "fluent": "fluent-emoji-flat@1.2.6",
    "openmoji": "openmoji@1.2.29",
    "emojione": "emojione@1.2.3",
    "emojione-v1": "emojione-v1@1.2.3",
    "fxemoji": "fxemoji@1.2.2",
    "streamline": "streamline-emojis@1.2.4",
    "twemoji": "twemoji@1.2.5",
}
UNSEEN = ("twemoji",)
# Drawings that were looked at and are something else than their name says, or are not one object.
REJECTED = set((ROOT / "tools" / "drawings_rejected.txt").read_text().splitlines())
COCO = """1 person,2 bicycle,3 car,4 motorcycle,5 airplane,6 bus,7 train,8 truck,9 boat,
10 traffic light,11 fire hydrant,13 stop sign,14 parking meter,15 bench,16 bird,17 cat,
18 dog,19 horse,20 sheep,21 cow,22 elephant,23 bear,24 zebra,25 giraffe,27 backpack,
28 umbrella,31 handbag,32 tie,33 suitcase,34 frisbee,35 skis,36 snowboard,37 sports ball,
38 kite,39 baseball bat,40 baseball glove,41 skateboard,42 surfboard,43 tennis racket,
44 bottle,46 wine glass,47 cup,48 fork,49 knife,50 spoon,51 bowl,52 banana,53 apple,
54 sandwich,55 orange,56 broccoli,57 carrot,58 hot dog,59 pizza,60 donut,61 cake,62 chair,
63 couch,64 potted plant,65 bed,67 dining table,70 toilet,72 tv,73 laptop,74 mouse,
75 remote,76 keyboard,77 cell phone,78 microwave,79 oven,80 toaster,81 sink,82 refrigerator,
84 book,85 clock,86 vase,87 scissors,88 teddy bear,89 hair drier,90 toothbrush"""
COCO_IDS = {name: int(number) for number, name in (entry.strip().split(" ", 1) for entry in COCO.split(","))}


def fetch(package: str, cache: Path) -> dict[str, Any]:
    """One Iconify package: its SVG bodies by English name."""
    name, _, version = package.partition("@")
    file = cache / f"iconify-json-{name}-{version}.tgz"
    if not file.exists():
        subprocess.run(["npm", "pack", f"@iconify-json/{package}"], cwd=cache, check=True, capture_output=True)
    with tarfile.open(file) as archive:
        member = archive.extractfile("package/icons.json")
        assert member is not None
        icons: dict[str, Any] = json.load(member)
    return icons


def render(icons: dict[str, Any], slug: str) -> Image.Image | None:
    """RGBA picture of a drawing, cut to what is visible, its longer side ``SIDE`` pixels."""
    slug = icons.get("aliases", {}).get(slug, {}).get("parent", slug)
    icon = icons["icons"].get(slug)
    if icon is None:
        return None
    width, height = (icon.get(key, icons.get(key, 16)) for key in ("width", "height"))
    left, top = icon.get("left", 0), icon.get("top", 0)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
    )
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE * OVERSAMPLING))
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 16)).getbbox()
    if box is None:
        return None
    image = image.crop(box)
    scale = SIDE / max(image.size)
    size = tuple(max(1, round(side * scale)) for side in image.size)
    return image.convert("RGBa").resize(size, Image.Resampling.BOX).convert("RGBA")


def simplified(image: Image.Image) -> Image.Image:
    """Six bits a colour and sixteen steps of opacity: nothing that one sees, a third off the file."""
    pixels = np.asarray(image, dtype=np.int32)
    alpha = (pixels[..., 3:] + 8) // 17 * 17
    colour = np.minimum((pixels[..., :3] + 2) // 4 * 4, 255) * (alpha > 0)
    return Image.fromarray(np.concatenate([colour, alpha], axis=-1).astype(np.uint8))


def candidates(slug: str) -> list[str]:
    """The spellings of a drawing's name in the packages (one of them numbers its variants)."""
    return [slug, f"{slug}-1", f"{slug}-2", f"{slug}-3"]


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two drawings are the same but for details (families took over from one another)."""
    small = [np.asarray(image.resize((24, 24)).convert("RGBa"), dtype=np.int32) for image in (one, other)]
    return bool(np.abs(small[0] - small[1]).mean() < 6)


def read_table() -> list[dict[str, Any]]:
    """``drawings.txt`` as a list of entries."""
    entries = []
    for line in (ROOT / "tools" / "drawings.txt").read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        name, synonyms, voc, coco, slugs = (cell.strip() for cell in line.split("|"))
        entries.append(
            {
                "name": name,
                "synonyms": [word.strip() for word in synonyms.split(",") if word.strip()],
                "voc": voc or None,
                "coco": coco or None,
                "coco_id": COCO_IDS[coco] if coco else None,
                "drawings": {},
                "slugs": [slug.strip() for slug in slugs.split(",")],
            }
        )
    return entries


def build_family(family: str, icons: dict[str, Any], entries: list[dict[str, Any]], seen: dict[str, Any]) -> int:
    """Write the atlas of one family and enter its cells into the index; returns how many drawings it has."""
    cells: list[Image.Image] = []
    for entry in entries:
        for slug in (variant for name in entry["slugs"] for variant in candidates(name)):
            image = None if f"{family} {slug}" in REJECTED else render(icons, slug)
            known = seen.setdefault(entry["name"], [])
            if image is None or any(same(image, other) for other in known):
                continue
            known.append(image)
            entry["drawings"].setdefault(family, []).append([len(cells), *image.size])
            entry.setdefault("files", {}).setdefault(family, []).append(slug)
            cells.append(image)
    atlas = Image.new("RGBA", (COLUMNS * SIDE, -(-len(cells) // COLUMNS) * SIDE))
    for number, image in enumerate(cells):
        atlas.paste(image, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    (ASSETS / family).mkdir(parents=True, exist_ok=True)
    simplified(atlas).save(ASSETS / family / "atlas.webp", lossless=True, quality=90, method=4)
    return len(cells)


def main() -> None:
    """Build every atlas and the index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the npm packages")
    cache = parser.parse_args().cache
    cache.mkdir(parents=True, exist_ok=True)
    entries = read_table()
    seen: dict[str, Any] = {}
    families = {}
    for family, package in FAMILIES.items():
        # A family that is never trained on must be whole: nothing is dropped for being alike.
        count = build_family(family, fetch(package, cache), entries, {} if family in UNSEEN else seen)
        families[family] = {"package": f"@iconify-json/{package}", "drawings": count, "unseen": family in UNSEEN}
        print(f"{family:12} {count:4} drawings, {(ASSETS / family / 'atlas.webp').stat().st_size / 1e6:.2f} MB")
    kept = [{key: value for key, value in entry.items() if key != "slugs"} for entry in entries if entry["drawings"]]
    index = {"version": 1, "side": SIDE, "columns": COLUMNS, "families": families, "entries": kept}
    lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in index.pop("entries"))
    head = json.dumps(index, indent=1, ensure_ascii=False)
    (ASSETS / "index.json").write_text(f'{head[:-2]},\n "entries": [\n{lines}\n ]\n}}\n')
    print(f"{len(kept)} names")


if __name__ == "__main__":
    main()
