"""What a manifest holds: one YAML file per benchmark, with all facts that reading and scoring it needs, and sources.

The classes are the documentation of that file. Unknown fields, wrong types and facts that contradict each other are
refused, because a mistyped key would otherwise change a score in silence.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from clipdiy_lab.datasets.sample import IGNORE
from clipdiy_lab.errors import DatasetError, nearest
from clipdiy_lab.method.config import Config


def _inside(path: str) -> str:
    """Refuse a place to write to that is not below the data folder."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or ":" in path or "\0" in path:
        raise ValueError(f"{path!r} points outside the data folder; give a folder inside it, such as 'coco/images'")
    return path


def _knobs(config: dict[str, Any]) -> dict[str, Any]:
    """Refuse what `Config` would refuse; its error is a ValueError, which the message of the manifest quotes."""
    Config(**config)
    return config


Text = Annotated[str, Field(min_length=1)]
Inside = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Archive(_Facts):
    """An archive to download.

    Attributes
    ----------
    name : str
        File name on disk; no path, and no leading dot.
    url : str
        Where it is, over http or https. For `access: login`, the page that hands it out.
    mirrors : tuple of str
        Other addresses of the same bytes.
    access : {"open", "login"}
        Whether everybody may fetch it, or only who has an account there.
    bytes : int or None
        Exact size; None where nobody states it.
    bytes_about : int or None
        A rounded size, for planning, where the exact one is unknown.
    md5, sha1, sha256 : str or None
        Hexadecimal; None where no source gives it.
    unpack : {"tar", "zip"} or None
        How it is packed; None for a file that is used as it is.
    extract_to : str
        Folder, below the data folder, that its content (or the file itself) goes to.
    sources : tuple of str
        Where these facts come from.
    """

    name: Annotated[str, Field(pattern=r"^[^./\\:\x00][^/\\:\x00]*$")]
    url: Annotated[str, Field(pattern=r"^https?://")]
    mirrors: tuple[Annotated[str, Field(pattern=r"^https?://")], ...] = ()
    access: Literal["open", "login"]
    bytes: Annotated[int, Field(gt=0)] | None
    bytes_about: Annotated[int, Field(gt=0)] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None
    sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    unpack: Literal["tar", "zip"] | None
    extract_to: Inside
    sources: Annotated[tuple[Text, ...], Field(min_length=1)]

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes that are known, by algorithm."""
        digests = {"md5": self.md5, "sha1": self.sha1, "sha256": self.sha256}
        return {name: digest for name, digest in digests.items() if digest is not None}


class Layout(_Facts):
    """Where the files of a sample are, below the dataset's root.

    Attributes
    ----------
    image : str
        Template of the image's path. `{id}` is the sample's id, `{folder}` the split's folder, `{group}` a folder that
        is found by looking (a city), `{file_name}` the name that a COCO file gives.
    mask : str or None
        Template of the mask's path; None where masks are drawn from annotations.
    annotations : str or None
        Template of the annotation file (COCO instances, Pascal Context), which may hold `{folder}`.
    sources : tuple of str
        Where these facts come from.
    """

    image: Text
    mask: Text | None
    annotations: Text | None = None
    sources: Annotated[tuple[Text, ...], Field(min_length=1)]


class Split(_Facts):
    """A part of the dataset.

    Attributes
    ----------
    images : int
        How many it has; before any filter.
    folder : str or None
        What `{folder}` stands for.
    list : str or None
        File of ids, one per line, below the root; None: every image of the folder, in the order of paths.
    note : str or None
        What to know about it.
    source : str
        Where the count comes from.
    """

    images: Annotated[int, Field(gt=0)]
    folder: Text | None = None
    list: Text | None = None
    note: Text | None = None
    source: Text


class LabelMap(_Facts):
    """A table from the values of a mask file, or from category ids, to labels.

    Attributes
    ----------
    table : dict of int to int
        Value -> index into the label names, or 255 for ignore. A value that is not named is an error in a mask; an
        annotation of a category that is not named is left out.
    source : str
        Where it comes from.
    """

    table: Annotated[dict[int, Byte], Field(min_length=1)]
    source: Text


class Variant(_Facts):
    """Names that somebody else gave to the same classes.

    Attributes
    ----------
    changes : dict of int to str
        Index -> name, where it differs from `label_names`.
    synonyms : dict of int to tuple of str
        Index -> all phrases that stand for the class; the best one counts.
    note : str or None
        What to know about it.
    source : str
        repository@commit:path.
    """

    changes: dict[int, Text] = {}
    synonyms: dict[int, tuple[Text, ...]] = {}
    note: Text | None = None
    source: Text


class Palette(_Facts):
    """The colours that palette PNGs of this benchmark have; a mask with these at other indices is refused.

    Attributes
    ----------
    colours : tuple of (red, green, blue)
        One per label, in the order of `label_names`.
    ignored : tuple of (red, green, blue)
        Colours of pixels that are ignored.
    source : str
        Where they come from.
    """

    colours: tuple[Colour, ...]
    ignored: tuple[Colour, ...] = ()
    source: Text


class Licence(_Facts):
    """The terms under which the data may be used.

    Attributes
    ----------
    images, annotations : str
        Licence or terms of each.
    redistribution : bool
        Whether the files may be passed on.
    url : str or None
        Where the terms are.
    source : str
        Where this was read.
    """

    images: Text
    annotations: Text
    redistribution: bool
    url: Text | None
    source: Text


class Manifest(_Facts):
    """A benchmark.

    Attributes
    ----------
    id : str
        Its name in the lab; also the name of the file.
    title, summary : str
        For tables, and in one or two sentences.
    notes : tuple of str
        Traps, for who reads the file.
    reader : str
        Its annotation format, a key of `formats.FORMATS`.
    protocol : str or None
        How it is scored if nothing else is asked for: a name or a file that `analysis.protocols.get_protocol` takes.
    config : dict
        Knobs of `Config` in which its scoring differs from the default, such as ``background: none`` for a benchmark
        without a background class. A configuration that somebody gives takes its place.
    published : str or None
        What `published_results.csv` calls it; None: nobody published a score.
    archives : tuple of Archive
        What to fetch.
    root : str or None
        The dataset's folder below the data folder; None where nothing is on disk.
    layout : Layout or None
        Where its files are.
    splits : dict of str to Split
        Its parts.
    reduce_zero_label : bool
        Whether mask value 0 becomes ignore and k becomes label k - 1.
    raw_ignore : tuple of int
        Mask values that mean ignore.
    label_map : LabelMap or None
        Mask values to labels; instead of the two fields above.
    category_map : LabelMap or None
        Category ids of the annotation file to mask values.
    filter : str or None
        Which images of a split are left out by default.
    label_names : tuple of str
        In label order.
    label_source : str
        Where the names come from.
    synonyms : dict of int to tuple of str
        Index -> further words for the class, from the dataset's own authors.
    synonym_source : str or None
        Where they come from.
    variants : dict of str to Variant
        Other people's names for the same classes.
    palette : Palette or None
        Colours of its masks, where they are files.
    licence : Licence
        Terms.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: Text
    summary: Text
    notes: tuple[Text, ...] = ()
    reader: Text
    protocol: Text | None = None
    config: Annotated[dict[str, Any], AfterValidator(_knobs)] = {}
    published: Text | None = None
    archives: tuple[Archive, ...]
    root: Text | None
    layout: Layout | None
    splits: Annotated[dict[str, Split], Field(min_length=1)]
    reduce_zero_label: bool = False
    raw_ignore: tuple[Byte, ...] = ()
    label_map: LabelMap | None = None
    category_map: LabelMap | None = None
    filter: Text | None = None
    label_names: Annotated[tuple[Text, ...], Field(min_length=1)]
    label_source: Text
    synonyms: dict[int, tuple[Text, ...]] = {}
    synonym_source: Text | None = None
    variants: dict[str, Variant] = {}
    palette: Palette | None = None
    licence: Licence

    _file: str | None = PrivateAttr(default=None)

    @property
    def reference(self) -> str:
        """How commands refer to it: its name, or the path of the file where it is not the lab's own."""
        return self._file or self.id

    def found_at(self, reference: str) -> Self:
        """The same manifest, which commands call by `reference`."""
        same = self.model_copy()
        same._file = reference
        return same

    @property
    def access(self) -> str:
        """How to get the benchmark: "embedded", "open" or "login"."""
        kinds = {archive.access for archive in self.archives}
        return "login" if "login" in kinds else "open" if kinds else "embedded"

    def names(self, variant: str | None = None) -> tuple[str, ...]:
        """Label names, as this manifest or as a variant spells them.

        Raises
        ------
        DatasetError
            If there is no such variant.
        """
        if variant is None:
            return self.label_names
        if variant not in self.variants:
            choices = nearest(variant, self.variants) if self.variants else "It has no variants."
            raise DatasetError(f"The manifest {self.id!r} has no label names called {variant!r}. {choices}")
        changes = self.variants[variant].changes
        return tuple(changes.get(index, name) for index, name in enumerate(self.label_names))

    def phrases(self, variant: str | None = None) -> dict[str, tuple[str, ...]]:
        """Synonyms by label name, as `Config.synonyms` takes them.

        Parameters
        ----------
        variant : str, optional
            Whose names and synonyms; None: the manifest's own.

        Returns
        -------
        dict of str to tuple of str
            Only labels that have synonyms; the names are those of ``names(variant)``. The manifest's own name of a
            label is its first phrase; a variant lists all its phrases itself.

        Raises
        ------
        DatasetError
            If there is no such variant.

        Examples
        --------
        >>> from clipdiy_lab.datasets.manifests import load_manifest
        >>> load_manifest("voc20").phrases("sclip")["television monitor"][1:3]
        ('tv monitor', 'monitor')
        """
        names = self.names(variant)
        if variant is not None:
            return {names[index]: phrases for index, phrases in self.variants[variant].synonyms.items()}
        return {names[index]: tuple(dict.fromkeys((names[index], *more))) for index, more in self.synonyms.items()}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        problem = self._label_problem()
        if problem:
            raise ValueError(problem)
        return self

    def _label_problem(self) -> str | None:
        count = len(self.label_names)
        twice = [name for name, times in Counter(self.label_names).items() if times > 1]
        indexed = [self.synonyms, *(table for v in self.variants.values() for table in (v.changes, v.synonyms))]
        outside = sorted({index for table in indexed for index in table if not 0 <= index < count})
        targets = set(self.label_map.table.values()) if self.label_map else set()
        if twice:
            return f"label_names holds {twice[0]!r} twice"
        if self.palette is not None and len(self.palette.colours) != count:
            return f"palette has {len(self.palette.colours)} colours for {count} label_names"
        if outside:
            return f"synonyms or variants name index {outside[0]}, but label_names ends at {count - 1}"
        if any(target >= count and target != IGNORE for target in targets):
            return f"label_map leads to {max(targets - {IGNORE})}, but label_names ends at {count - 1}"
        if self.label_map and (self.reduce_zero_label or self.raw_ignore):
            return "label_map stands instead of reduce_zero_label and raw_ignore; give one or the other"
        return None
