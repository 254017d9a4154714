"""The explorer's widgets: controls built from the knobs' metadata, one picture, panels and inspector as HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import ipywidgets as w

from clipdiy_lab.errors import ClipdiyError
from clipdiy_lab.method.naming import DENSE, grid_name, grid_title, of_tokens
from clipdiy_lab.models.loading import list_models
from clipdiy_lab.views import data_uris
from clipdiy_lab.views.colors import label_colors
from clipdiy_lab.views.explorer import markup
from clipdiy_lab.views.explorer.controls import Control, bounds, tidy, titled
from clipdiy_lab.views.explorer.engine import Shown
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.fields import Field, fields, weight_field
from clipdiy_lab.views.explorer.image_sources import MAX_UPLOAD, SPLITS, folder
from clipdiy_lab.views.explorer.picture import PictureWidget
from clipdiy_lab.views.explorer.state import PANELS, saliency_names
from clipdiy_lab.views.explorer.tags import Tags
from clipdiy_lab.views.live.widgets import Lines, WidgetScreen, button, close

_SIDE: Final = 400
_WIDE: Final = {"width": "98%"}
_STYLE: Final = {"description_width": "11em"}


class ExplorerWidgets(WidgetScreen):
    """Widgets of an explorer; an `ExplorerScreen`.

    Parameters
    ----------
    explorer : Explorer

    Attributes
    ----------
    root : ipywidgets.VBox
        Everything.
    controls : mapping of str to Control
        By the knob.
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.frame_shown: Any = None
        self.painted = 0
        self.controls: dict[str, Control] = {}
        self._reading = self._turning = False
        self.picture = PictureWidget(size=explorer.config.image_size, side=_SIDE)
        self.picture.on_click(lambda y, x: self._change(pixel=(y, x)))
        self.legend, self.panel, self.inspector = (w.HTML(layout=_WIDE) for _ in range(3))
        self.count = w.HTML(_counted(0, 0))
        self.said = Lines(("error", "note", "wait", "busy"), "clipdiy")
        self.bar = w.IntProgress(min=0, max=1, layout={"width": "10em", "visibility": "hidden"})
        self.root = self._lay_out()
        self.root.add_class("clipdiy-explorer")
        explorer.attach(self)
        explorer.refresh()

    # Layout

    def _lay_out(self) -> w.VBox:
        view = self.explorer.view
        self.labels = Tags(view.labels, lambda value: self._change(labels=tuple(value)), self.explorer.complain,
                           hint="add a label")  # fmt: skip
        self.labels.root.add_class("clipdiy-labels")
        self.panels = w.ToggleButtons(options=[(title, key) for key, title in PANELS.items()], value=view.panel,
                                      style={"button_width": "auto"})  # fmt: skip
        self.panels.add_class("clipdiy-panels")
        self._on(self.panels, lambda value: self._change(panel=value))
        self.opacity = w.FloatSlider(value=view.opacity, min=0, max=1, step=0.05, description="opacity",
                                     layout={"width": f"{_SIDE}px"})  # fmt: skip
        self.opacity.add_class("clipdiy-opacity")
        self._on(self.opacity, lambda value: self._change(opacity=tidy(value)))
        now, stop = button("Encode now", "clipdiy-apply"), button("Cancel", "clipdiy-cancel")
        now.on_click(lambda _: self.explorer.attempt(self.explorer.apply))
        stop.on_click(lambda _: self.explorer.attempt(self._stop))
        status = w.HBox([now, stop, self.bar, self.count], layout={"align_items": "center"})
        left = w.VBox([self.picture, self.opacity, self.legend], layout={"width": f"{_SIDE + 30}px", "flex": "none"})
        right = w.VBox(
            [
                w.HTML("<b>Labels</b> (type one and press Enter; a click takes one out)"),
                self.labels.root,
                *self.said.widgets.values(),
                self._settings(),
            ],
            layout={"flex": "1", "min_width": "22em"},
        )
        top = w.HBox([left, right], layout={"width": "100%", "align_items": "flex-start"})
        return w.VBox([status, self.panels, top, self.panel, self.inspector], layout={"width": "100%"})

    def _settings(self) -> w.Accordion:
        fuse, encode = fields("fuse"), fields("encode")
        # What is turned most stands first; the other knobs follow under their tier.
        often = [self._control(field) for field in fuse.values() if field.meta.get("often")]
        more = [self._control(field) for field in fuse.values() if not field.meta.get("often")]
        grids = [field for field in encode.values() if "selects_from" in field.meta]
        network = [self._control(field) for field in encode.values() if "selects_from" not in field.meta]
        boxes = {
            "Image": self._images(),
            "Scales": self._scales(grids),
            "Saliency, placement, background, prompt": w.VBox([*self._saliency(), *often]),
            "More knobs that answer at once": w.VBox(more),
            "Model and what asks the network": w.VBox([self._model(), *network]),
            "Code and files": self._files(),
        }
        made = w.Accordion(list(boxes.values()), titles=list(boxes), selected_index=1)
        made.add_class("clipdiy-settings")
        return made

    def _control(self, field: Field) -> Any:
        value = self.explorer.draft.values[field.name]
        control = Control(field, value, self._turn, self.explorer.complain)
        self.controls[field.name] = control
        return titled(field, control.widget)

    def _scales(self, selecting: Sequence[Field]) -> w.VBox:
        self._scale_box = w.VBox()
        self.scale_rows: dict[int, tuple[Any, ...]] = {}
        offered = [self._control(field) for field in selecting]
        tokens = self._token_weight()
        self._read(self._list_scales)
        return w.VBox([self._scale_box, tokens, *offered])

    def _token_weight(self) -> w.FloatSlider:
        """One weight for the grids of patch tokens, there only while the draft has some."""
        field = weight_field()
        self.token_weight = w.FloatSlider(description="patch tokens", tooltip=field.meta["help"], style=_STYLE,
                                          layout=_WIDE, **bounds(field))  # fmt: skip
        self.token_weight.add_class(f"clipdiy-weight-{DENSE}")
        self._on(self.token_weight, lambda _: self._weigh({DENSE: tidy(self.token_weight.value)}))
        return self.token_weight

    def _list_scales(self) -> None:
        """Show a switch and a weight for the grid of every scale on offer; those that were there stay."""
        draft = self.explorer.draft
        off = set(draft.values["scales_off"])
        old = dict(zip(self.scale_rows, self._scale_box.children, strict=True))
        kept = {scale: old.pop(scale) if scale in old else self._scale_row(scale) for scale in draft.values["scales"]}
        self.scale_rows = {scale: row.children for scale, row in kept.items()}
        for scale, (on, weight) in self.scale_rows.items():
            on.value, weight.value = scale not in off, draft.weight(grid_name(scale))
        self._scale_box.children = list(kept.values())
        self.token_weight.value = draft.weight(DENSE)
        self.token_weight.layout.display = "none" if draft.values["dense"] == "none" else "flex"
        for row in old.values():
            close(row)

    def _scale_row(self, scale: int) -> w.HBox:
        field = weight_field()
        name = grid_name(scale)
        on = w.Checkbox(description=grid_title(name), indent=False, layout={"width": "6em"})
        weight = w.FloatSlider(tooltip=field.meta["help"], layout={"width": "auto", "flex": "1"}, **bounds(field))
        weight.add_class(f"clipdiy-weight-{name}")
        on.add_class(f"clipdiy-grid-{name}")
        for one in (on, weight):
            self._on(one, lambda _: self._weigh())
        return w.HBox([on, weight], layout=_WIDE)

    def _weigh(self, tokens: Mapping[str, float] | None = None) -> None:
        rows = self.scale_rows.items()
        off = tuple(scale for scale, (on, _) in rows if not on.value)
        weights = {grid_name(scale): tidy(weight.value) for scale, (_, weight) in rows}
        held = {name: value for name, value in self.explorer.draft.values["weights"].items() if of_tokens(str(name))}
        self._change(scales_off=off, weights=weights | (held if tokens is None else dict(tokens)))

    def _images(self) -> w.VBox:
        self.split = w.Dropdown(options=SPLITS, value="val", layout={"width": "9em"})
        self.number = w.BoundedIntText(value=1, min=0, max=1999, layout={"width": "6em"})
        for one in (self.split, self.number):
            self._on(one, lambda _: self.explorer.open_scene(self.split.value, self.number.value))
        self.number.add_class("clipdiy-scene")
        self.path = w.Text(placeholder="path of an image or of a folder", continuous_update=False, layout=_WIDE)
        self.path.add_class("clipdiy-path")
        self.files = w.Dropdown(options=[], layout=_WIDE | {"display": "none"})
        self._on(self.path, self._open_path)
        self._on(self.files, self._open_file)
        self.upload = w.FileUpload(
            accept="image/*", multiple=False, description="Upload an image", layout={"width": "auto"}
        )
        self.upload.add_class("clipdiy-upload")
        self._on(self.upload, self._uploaded)
        most = w.Label(f"at most {MAX_UPLOAD // 2**20} MiB")
        return w.VBox([w.HBox([w.Label("scene"), self.split, self.number]), self.path, self.files,
                       w.HBox([self.upload, most])])  # fmt: skip

    def _open_file(self, path: str | None) -> None:
        if path:
            self.explorer.open(path)

    def _open_path(self, text: str) -> None:
        if not text.strip():
            return
        shown = "none"
        if Path(text).expanduser().is_dir():
            try:
                found = folder(text)
            except ClipdiyError as error:
                self.explorer.complain(error)
                return
            shown = "flex"
            self.files.options = [(one.name, str(one)) for one in found]
        else:
            self.explorer.open(text)
        self.files.layout.display = shown

    def _uploaded(self, value: Any) -> None:
        if not value:
            return
        one = value[0]
        # The same file can be chosen again only if the widget forgets it.
        self.upload.value = ()
        self.explorer.upload(str(one["name"]), one["content"])

    def _saliency(self) -> list[Any]:
        view = self.explorer.view
        self.source = w.Dropdown(options=saliency_names(view), value=view.saliency, description="saliency source",
                                 style=_STYLE, layout=_WIDE)  # fmt: skip
        self.source.add_class("clipdiy-saliency")
        self.source_path = w.Text(value=view.saliency_path, placeholder="map.npy or a gray image", description="file",
                                  continuous_update=False, style=_STYLE, layout=_WIDE)  # fmt: skip
        self.source_value = w.FloatSlider(value=view.saliency_value, min=0, max=1, step=0.05, description="value",
                                          style=_STYLE, layout=_WIDE)  # fmt: skip
        for one in (self.source, self.source_path, self.source_value):
            self._on(one, lambda _: self._choose_source())
        self._show_options()
        return [self.source, self.source_path, self.source_value]

    def _show_options(self) -> None:
        for name, one in (("file", self.source_path), ("constant", self.source_value)):
            one.layout.display = "flex" if self.source.value == name else "none"

    def _choose_source(self) -> None:
        self._show_options()
        if self.source.value == "file" and not self.source_path.value.strip():
            self.say("Give the path of the saliency map.", "wait")
            return
        value = {"saliency_value": tidy(self.source_value.value), "saliency_path": self.source_path.value.strip()}
        self._change(saliency=self.source.value, **value)

    def _model(self) -> Any:
        view, known = self.explorer.view, list_models()
        here = list(dict.fromkeys([view.model, *known.loc[known["here"], "name"]]))
        self.model = w.Combobox(value=view.model, options=here, description="model", ensure_option=False,
                                continuous_update=False, style=_STYLE, layout=_WIDE)  # fmt: skip
        self.model.add_class("clipdiy-model")
        self._on(self.model, lambda value: self._change(model=value.strip()))
        return self.model

    def _files(self) -> w.VBox:
        self.code, self.filed = w.HTML(layout=_WIDE), w.HTML(layout=_WIDE)
        show = button("Show the code", "clipdiy-code")
        show.on_click(lambda _: self.explorer.attempt(self._show_code))
        self.place = w.Text(value="explorer.json", layout={"width": "14em"})
        save, load = button("Save state", "clipdiy-save"), button("Load state", "clipdiy-load")
        save.on_click(lambda _: self._do(lambda: self.explorer.save(self.place.value), "saved to"))
        load.on_click(lambda _: self._do(self._load, "loaded"))
        self.out = w.Text(value="explorer.html", layout={"width": "14em"})
        export = button("Export", "clipdiy-export")
        export.on_click(lambda _: self._do(lambda: self.explorer.export(self.out.value), "exported to"))
        kinds = w.Label(".html .svg .pdf .png, .nc .zarr, .csv .tex .md")
        return w.VBox([w.HBox([self.place, save, load]), w.HBox([self.out, export, kinds]), self.filed, show,
                       self.code])  # fmt: skip

    # What the user does

    def _on(self, widget: Any, react: Any) -> None:
        def hear(change: Any) -> None:
            if self._reading:
                return
            self.explorer.attempt(lambda: react(change["new"]))

        widget.observe(hear, "value")

    def _turn(self, name: str, value: Any) -> None:
        if not self._reading:
            self._change(**{name: value})
            if "selects_from" in self.controls[name].field.meta or name == "dense":
                self._read(self._list_scales)

    def _change(self, **values: Any) -> None:
        # The widget that was turned shows its value already; answering would pull a slider back that is still moved.
        self._turning = True
        try:
            self.explorer.attempt(lambda: self.explorer.change(**values))
        finally:
            self._turning = False
        if self.code.value:
            self.explorer.attempt(self._show_code)

    def _stop(self) -> None:
        self.explorer.cancel()
        self.bar.layout.visibility = "hidden"

    def _do(self, act: Any, said: str) -> None:
        # Not among the explorer's lines: the next picture clears those, and after loading it comes at once.
        self.filed.value = ""

        def tell() -> None:
            self.filed.value = f'<div class="clipdiy-filed">{html.escape(f"{said} {act()}")}</div>'

        self.explorer.attempt(tell)

    def _load(self) -> str:
        self.explorer.load(self.place.value)
        return str(self.place.value)

    def _show_code(self) -> None:
        self.code.value = f'<pre style="white-space:pre-wrap;line-height:1.3">{html.escape(self.explorer.code())}</pre>'

    def read_draft(self) -> None:
        """Show what the explorer's draft holds, unless a widget of ours has just put it there."""
        if not self._turning:
            self._read(self._show_draft)

    def _read(self, show: Callable[[], None]) -> None:
        """Set widgets without taking that for something the user did."""
        self._reading = True
        try:
            show()
        finally:
            self._reading = False

    def _show_draft(self) -> None:
        values = self.explorer.draft.values
        for name, control in self.controls.items():
            control.set(values[name])
        self._list_scales()
        self.labels.value = values["labels"]
        self.panels.value, self.opacity.value = values["panel"], values["opacity"]
        self.model.value = values["model"]
        # Whether a source is there turns out when it is asked.
        if values["saliency"] in self.source.options:
            self.source.value = values["saliency"]
        self.source_path.value, self.source_value.value = values["saliency_path"], values["saliency_value"]
        self._show_options()

    # What the explorer says

    def show(self, shown: Shown, generation: int) -> None:
        """Draw labels; the photograph travels only when it is another one."""
        colors = label_colors(shown.names, shown.background)
        clear = () if shown.background is None else (shown.background,)
        source = data_uris.indexed(shown.labels, colors, clear)
        key = (shown.view.image.sha256, shown.frame.shape, shown.view.config.image_resize)
        # All in one message: a picture and its size belong together.
        with self.picture.hold_sync():
            if key != self.frame_shown:
                self.frame_shown = key
                self.picture.photograph = data_uris.photograph(shown.frame)
                self.picture.size = shown.frame.shape[:2]
            self.picture.labels, self.picture.opacity = source, shown.view.opacity
            self.picture.mark = [] if shown.view.pixel is None else list(shown.view.pixel)
        self.legend.value = markup.legend(shown)
        self.bar.layout.visibility = "hidden"
        self.painted += 1
        self.count.value = _counted(self.painted, generation)

    def fill(self, panel: str, inspector: str) -> None:
        """Draw panel and inspector."""
        self.panel.value, self.inspector.value = panel, inspector

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        self.bar.max, self.bar.value = total, done
        self.bar.layout.visibility = "visible"


def _counted(painted: int, generation: int) -> str:
    data = f'data-painted="{painted}" data-generation="{generation}"'
    return f'<span class="clipdiy-count" {data} style="opacity:.6">picture {painted}</span>'
