"""Whether a store of embeddings answers for a configuration, a segmenter's words and a dataset's images."""

from __future__ import annotations

from clipdiy_lab.datasets.images import content_hash
from clipdiy_lab.datasets.sample import Dataset, Sample, ids_of
from clipdiy_lab.errors import ModelError, StoreError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.naming import grid_title
from clipdiy_lab.models import recipes
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.pipeline.embeddings.opened import OpenedStore
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.provenance import same_weights
from clipdiy_lab.pipeline.segmenter import Segmenter, as_segmenter

AnyStore = EmbeddingStore | OpenedStore


def unfit(store: AnyStore, config: Config) -> str:
    """Say why a store cannot answer for a configuration; empty if it can."""
    lost = [grid_title(name) for name in config.grids if name not in store.config.grids]
    differs = config.unlike(store.config)
    if not lost and not differs:
        return ""
    knobs = ", ".join(f"{name}={getattr(config, name)!r}" for name in differs)
    asked = f"the grids of {', '.join(lost)}" if lost else knobs
    return f"{store.title} was not encoded with {asked}; give a segmenter, and stores= to keep it."


def text_segmenter(store: AnyStore, segmenter: Segmenter | None = None) -> Segmenter:
    """Return the segmenter whose text encoder belongs to a store; by default it is loaded by the name in its recipe.

    Raises
    ------
    StoreError
        If it cannot be loaded, has other weights, or applies another saliency than the store holds.
    """
    name, weights = str(store.attrs["encoder"]), str(store.attrs["encoder_fingerprint"])
    if segmenter is None:
        try:
            segmenter = _by_recipe(store)
        except ModelError as error:
            raise StoreError(
                f"The store's encoder is {name!r}, which cannot be loaded by that name ({error}); give segmenter=."
            ) from error
    segmenter = as_segmenter(segmenter)
    if not same_weights(segmenter.encoder.fingerprint, weights):
        raise StoreError(
            f"{capital(store.title)} was made by {name!r} with other weights than "
            f"{segmenter.encoder.name!r} has; give segmenter= with the same model."
        )
    _require_same_saliency(store, segmenter)
    return segmenter


def _by_recipe(store: AnyStore) -> Segmenter:
    """Load the encoder of a store by a name that any of its readers could have asked for."""
    recipe = recipes.read(store.attrs.get("encoder_recipe", "null")) or Recipe(str(store.attrs["encoder"]))
    # A file, a folder or a hub that nobody names but the store is left alone; texts need neither device nor runtime.
    options = list(recipe.without("device", "runtime").options)
    if options or ":" in recipe.name:
        needs = f"it was loaded with {' and '.join(options)}" if options else "it is no name of the lab's list"
        raise ModelError(needs)
    return Segmenter(recipe.name)


def _require_same_saliency(store: AnyStore, segmenter: Segmenter) -> None:
    """Refuse a segmenter whose saliency would be ignored: the maps come from the store."""
    source, held = segmenter.saliency, store.attrs
    if source.name == "none":  # a segmenter that is given for its words
        return
    if (source.name, source.fingerprint) != (held["saliency_source"], held["saliency_fingerprint"]):
        weights = " of other weights or settings" if source.name == held["saliency_source"] else ""
        raise StoreError(
            f"{capital(store.title)} holds the saliency {held['saliency_source']!r}, but the segmenter has "
            f"{source.name!r}"
            f"{weights}, which would be ignored. Make a store with the latter, or give a segmenter without saliency: "
            "lab.load(..., saliency='none')."
        )


def places_in(store: AnyStore, dataset: Dataset) -> list[int]:
    """Where the images of a store stand in its dataset; the pixels of the first and the last are compared."""
    ids = store.ids
    places = list(range(len(ids)))
    if ids_of(dataset, min(len(ids), len(dataset))) != ids:  # a selection, or a store with gaps
        known = {name: place for place, name in enumerate(ids_of(dataset, len(dataset)))}
        foreign = next((name for name in ids if name not in known), None)
        if foreign is not None:
            raise StoreError(
                f"{capital(store.title)} contains other images: {foreign!r} is not one of the {len(dataset)} images of "
                f"{dataset.name!r}. Open the dataset from which it was made, with the same split and length."
            )
        places = [known[name] for name in ids]
    for position in {0, len(ids) - 1}:
        require_same_image(store, position, dataset, dataset[places[position]])
    return places


def require_same_image(store: AnyStore, position: int, dataset: Dataset, sample: Sample) -> Encoding:
    """Return what a store holds of an image, once its pixels are seen to be those of a sample of the dataset.

    Raises
    ------
    StoreError
        If they are not.
    """
    encoding = store.encoding(position)
    if content_hash(sample.image) != encoding.provenance["image_sha256"]:
        raise StoreError(
            f"{capital(store.title)} contains other images: {store.ids[position]!r} has other pixels in "
            f"{dataset.name!r}. Open the dataset from which it was made, with the same options."
        )
    return encoding


def capital(text: str) -> str:
    """Return a text as the start of a sentence."""
    return text[0].upper() + text[1:]
