"""Which values of knobs make no sense together, though each does alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdiy_lab.errors import ConfigError

if TYPE_CHECKING:
    from clipdiy_lab.method.config import Config


def check(config: Config) -> None:
    """Refuse values that make no sense together; those of each knob have been checked.

    Raises
    ------
    ConfigError
        With the knobs, and what to change.
    """
    _check_grids(config)
    _check_scales(config)
    _check_words(config)
    check_reach(config, config.image_size)
    if config.keep_labels == 1 and config.background == "threshold":
        raise ConfigError(
            "keep_labels=1 leaves only one label for background='threshold', with a probability of always 1; keep at "
            "least two."
        )
    if config.align_corners and (config.interpolation, config.placement) != ("bilinear", "stretched"):
        raise ConfigError(
            "align_corners=True applies only with interpolation='bilinear' and placement='stretched'; "
            f"got {config.interpolation!r} and {config.placement!r}."
        )


def _check_grids(config: Config) -> None:
    if config.grids:
        return
    if config.dense == "none":
        raise ConfigError(
            "scales is empty and dense is 'none', so there is no grid; give window sides in pixels such as "
            "(256, 128, 64), or dense='naclip'."
        )
    raise ConfigError(
        "dense_from='crops' takes patch tokens from the crops of the windows, but scales is empty; give window "
        "sides, or use dense_from='frame'."
    )


def _check_scales(config: Config) -> None:
    height, width = config.image_size
    for scale in config.scales:
        if scale > min(height, width):
            raise ConfigError(
                f"scale {scale} does not fit into the frame of {height} x {width} pixels; "
                f"use scales up to {min(height, width)} or a larger image_size."
            )
        if scale < config.stride:
            raise ConfigError(
                f"scale {scale} with stride {config.stride} gives a step of 0 pixels; use a stride up to {scale}."
            )


def _check_words(config: Config) -> None:
    if config.background != "words":
        return
    if not config.background_words:
        raise ConfigError(
            "background='words' needs background_words; give the words for the background, such as "
            "background_words=('sky', 'wall', 'grass')."
        )
    if config.background_label.lower() in (label.lower() for label in config.synonyms):
        raise ConfigError(
            f"both background_words and synonyms define {config.background_label!r}; use only one of "
            "the two (synonyms are for background='prompt' or 'saliency')."
        )


def check_reach(config: Config, size: tuple[int, int]) -> None:
    """Refuse a refinement that reaches beyond the sides, height and width in pixels, of what it refines.

    Raises
    ------
    ConfigError
        With the knob.
    """
    reaches = {
        "pamr": ("refine_dilations", max(config.refine_dilations)),
        "guided": ("refine_radius", config.refine_radius),
    }
    knob, reach = reaches.get(config.refine, ("", 0))
    height, width = size
    if reach >= min(height, width):
        raise ConfigError(
            f"{knob} reaches {reach} pixels, but the frame has only {height} x {width}; use at most "
            f"{min(height, width) - 1}."
        )
