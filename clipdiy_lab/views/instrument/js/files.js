// Images and files of a notebook's instrument: open another image, save, load, export.

import { h } from "./dom.js";

/** @typedef {import("./kernel.js").Answer} Answer */

/**
 * @param {{ask: (what: string, content?: Record<string, any>, buffers?: ArrayBuffer[]) => Promise<Answer>, splits: string[], most: number}} given
 */
export function files({ ask, splits, most }) {
  const told = h("span", { role: "status" }),
    refused = h("span", { class: "cdi-refused", role: "alert" });
  /** @param {Promise<Answer>} asked */
  async function say(asked) {
    told.textContent = refused.textContent = "";
    const answer = await asked;
    refused.textContent = answer.error;
    told.textContent = answer.error ? "" : (answer.told ?? "");
  }
  const split = h(
    "select",
    { "aria-label": "Split of the scenes" },
    ...splits.map((name) => h("option", { value: name }, name)),
  );
  const number = h("input", { type: "number", min: 0, max: 1999, value: 1, "aria-label": "Number of the scene" });
  const path = h("input", {
    type: "text",
    placeholder: "Path of an image or a folder",
    "aria-label": "Path of an image or a folder",
  });
  const upload = h("input", {
    type: "file",
    accept: "image/*",
    "aria-label": `Upload an image, at most ${most / 2 ** 20} MiB`,
  });
  const sceneOf = () => say(ask("scene", { split: split.value, number: Number(number.value) }));
  split.addEventListener("change", sceneOf);
  number.addEventListener("change", sceneOf);
  path.addEventListener("change", () => path.value.trim() && say(ask("open", { path: path.value.trim() })));
  upload.addEventListener("change", async () => {
    const file = upload.files?.[0];
    upload.value = "";
    if (!file) return;
    if (file.size > most) {
      refused.textContent = `${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MiB; the limit is ${most / 2 ** 20} MiB. Give its path instead.`;
      return;
    }
    say(ask("upload", { name: file.name }, [await file.arrayBuffer()]));
  });
  const state = h("input", { type: "text", value: "explorer.json", "aria-label": "File of the state" });
  const out = h("input", {
    type: "text",
    value: "explorer.html",
    "aria-label": "File to export to",
    title:
      "The format is given by the extension: .html .svg .pdf .png (figure), .nc .zarr (run), .csv .tex .md (table)",
  });
  const button = (/** @type {string} */ text, /** @type {() => void} */ act) =>
    h("button", { type: "button", on: { click: act } }, text);
  const images = h(
    "fieldset",
    {},
    h("legend", {}, "Image"),
    h("label", { class: "cdi-knob" }, h("span", {}, "scene"), split, number),
    path,
    h(
      "label",
      { class: "cdi-knob" },
      h("span", {}, "upload"),
      upload,
      h("span", { class: "cdi-quiet" }, `at most ${most / 2 ** 20} MiB`),
    ),
  );
  const kept = h(
    "fieldset",
    {},
    h("legend", {}, "Files"),
    state,
    button("Save state", () => say(ask("save", { path: state.value }))),
    button("Load state", () => say(ask("load", { path: state.value }))),
    out,
    button("Export", () => say(ask("export", { path: out.value }))),
  );
  const root = h("div", { class: "cdi-files", hidden: true }, images, kept, told, refused);
  const open = button("Open, save", () => {
    root.hidden = !root.hidden;
    open.setAttribute("aria-expanded", String(!root.hidden));
  });
  open.setAttribute("aria-expanded", "false");
  return { root, tools: [open] };
}
