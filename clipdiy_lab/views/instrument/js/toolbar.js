// What stands above an instrument: its title, and what is done to the picture as a whole.

import { recombination } from "./controls.js";
import { h, short } from "./dom.js";
import { PALETTES } from "./palettes.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./instrument.js").Host} Host */
/** @typedef {import("./picture.js").Picture} Picture */

/**
 * @param {Session} session
 * @param {Host} host
 * @param {{zoom: (factor: number) => void, copy: (text: string, what: string) => void, picture: () => void}} acts
 */
export function toolbar(session, host, acts) {
  const button = (/** @type {string} */ text, /** @type {string} */ title, /** @type {() => void} */ act) =>
    h("button", { type: "button", title, on: { click: act } }, text);
  const palette = h(
    "select",
    { "aria-label": "Colours of the labels", on: { change: () => session.change({ palette: palette.value }) } },
    ...Object.entries(PALETTES).map(([value, title]) => h("option", { value }, title)),
  );
  const opacity = h("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.05,
    title: "Opacity of the labels over the photograph",
    on: { input: () => session.change({ opacity: Number(opacity.value) }) },
  });
  const link = host.link;
  const root = h(
    "header",
    {},
    h(
      "div",
      { class: "cdi-title" },
      h("strong", { title: session.scene.title }, short(session.scene.title, 48)),
      h(
        "span",
        { class: "cdi-quiet" },
        [session.scene.about.encoder, session.scene.about.saliency].filter(Boolean).join(" \u00b7 "),
      ),
    ),
    h(
      "div",
      { class: "cdi-tools" },
      h("label", { class: "cdi-knob" }, h("span", {}, "opacity"), opacity),
      palette,
      button("\u2212", "Zoom out (\u2212)", () => acts.zoom(1 / 1.5)),
      button("+", "Zoom in (+)", () => acts.zoom(1.5)),
      button("Undo", "Undo (Ctrl+Z)", () => session.undo()),
      button("Redo", "Redo (Ctrl+Y)", () => session.redo()),
      button("Paper", "Use the settings of the paper", () => session.paper()),
      button("Reset", "Return to the initial state", () => session.reset()),
      button("Copy code", "Copy Python code that reproduces this state", async () =>
        acts.copy(host.code ? await host.code() : recombination(session), "code"),
      ),
      button("Copy picture", "Save the current picture as PNG", acts.picture),
      link ? button("Copy link", "Copy a link that opens this state", () => acts.copy(link(), "link")) : null,
      ...host.tools,
    ),
  );
  return {
    root,
    update() {
      palette.value = session.state.palette;
      opacity.value = String(session.state.opacity);
    },
  };
}

/**
 * Download a picture as it is shown, at the size of the image.
 * @param {Picture} picture
 * @param {() => void} done
 */
export function download(picture, done) {
  const canvas = h("canvas", { width: picture.scene.size[1], height: picture.scene.size[0] });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(picture.photograph, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = Number(picture.canvas.style.opacity);
  context.imageSmoothingEnabled = false;
  context.drawImage(picture.canvas, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => {
    if (!blob) return;
    const address = URL.createObjectURL(blob);
    h("a", { href: address, download: "clipdiy.png" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    done();
  });
}
