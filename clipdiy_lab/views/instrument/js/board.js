// The ablation board in a notebook: form, table, plot and images are drawn here, the kernel runs the grid.

import { files } from "./board_files.js";
import { gridForm } from "./board_form.js";
import { rowImages } from "./board_images.js";
import { plot } from "./board_plot.js";
import { runBar } from "./board_run.js";
import { rowTable } from "./board_table.js";
import { h } from "./dom.js";
import { host } from "./host.js";
import { Kernel } from "./kernel.js";

/**
 * A row of the grid that has arrived; scores are percent, points are of percent.
 * @typedef {object} Row
 * @property {number} row place in the grid
 * @property {string} name
 * @property {{text: string, number: number | null}[]} values
 * @property {number | null} miou
 * @property {number | null} miou_low
 * @property {number | null} miou_high
 * @property {number | null} pixel_accuracy
 * @property {string} error
 * @property {{points: number, low_points: number, high_points: number, apart: boolean} | null} behind
 */

/**
 * @typedef {object} Told
 * @property {{name: string, title: string, numeric: boolean}[]} knobs
 * @property {Row[]} rows
 * @property {number | null} best
 * @property {string} standing
 * @property {string} note
 * @property {string} protocol
 * @property {{method: string, backbone: string, miou: number, protocol: string, source: string}[]} published
 * @property {string[]} colors
 */

const GONE = "The kernel has stopped, so no more rows can be run. Run the cell again.";

/** @param {{model: any, el: HTMLElement}} place */
export function render({ model, el }) {
  const leave = host(el);
  let away = "",
    refused = "";
  const kernel = new Kernel(
    model,
    (text) => {
      away = text;
      told();
    },
    GONE,
  );
  const bar = runBar({
    run: () => act("run"),
    cancel: () => act("cancel"),
    estimate: () => act("estimate"),
  });
  const form = gridForm(ask);
  const table = rowTable(choose);
  const chart = h("div", { class: "cdi-chart" });
  const images = rowImages((place) => act("open", { place }));
  const kept = files(ask);
  const facts = h("ul", { class: "cdi-facts" });
  const caution = h("p", { class: "cdi-caution", role: "note", hidden: true });
  const standing = h("p", { class: "cdi-standing" }),
    note = h("p", { class: "cdi-quiet cdi-standing" });
  const results = h(
    "section",
    { class: "cdi-results", "aria-label": "Rows", hidden: true },
    h("div", { class: "cdi-board-main" }, table.root, chart),
    standing,
    note,
    table.published,
  );
  const board = h(
    "div",
    { class: "cdi cdi-board" },
    h("header", {}, h("div", { class: "cdi-title" }, h("strong", {}, "Ablation board")), facts),
    caution,
    form.root,
    bar.root,
    results,
    images.root,
    kept.root,
  );
  const slot = h("div"),
    heading = h("h3");
  const close = h("button", { type: "button", on: { click: () => act("shut") } }, "Close");
  const opened = h(
    "section",
    { class: "cdi cdi-opened", "aria-label": "Explorer", hidden: true },
    h("header", {}, heading, close),
    slot,
  );
  el.append(board, opened);
  /** @type {any} */
  let view = null;

  /** Ask the kernel; what was said of something else goes. @param {string} what @param {Record<string, any>} [content] */
  function ask(what, content = {}) {
    refused = "";
    kept.forget();
    told();
    return kernel.ask(what, content);
  }

  /** @param {string} what @param {Record<string, any>} [content] */
  async function act(what, content = {}) {
    const { error } = await ask(what, content);
    refused = error;
    told();
  }

  /** Show the images of a row. @param {number} row */
  function choose(row) {
    act("show", { row });
  }

  function told() {
    bar.update(model.get("status"), model.get("form"), { gone: kernel.gone, away, refused });
  }

  function selected() {
    return model.get("images").row ?? null;
  }

  function draw() {
    /** @type {Told} */
    const rows = model.get("rows");
    const any = (rows.rows ?? []).length > 0;
    results.hidden = kept.root.hidden = !any;
    if (!any) return;
    table.take(rows, selected());
    chart.replaceChildren(
      h("p", { class: "cdi-plottitle" }, `mIoU, %, over ${rows.knobs.map(({ title }) => title).join(", ")}`),
      plot(rows, { width: chart.clientWidth || 480, selected: selected(), choose }),
    );
    standing.textContent = rows.standing;
    note.textContent = rows.note;
    board.dataset.rows = String(rows.rows.length);
  }

  function heads() {
    const head = model.get("head");
    caution.textContent = head.caution;
    caution.hidden = !head.caution;
    facts.replaceChildren(
      ...head.facts.map((/** @type {{name: string, text: string, more: string}} */ fact) =>
        h("li", { title: fact.more }, h("span", { class: "cdi-quiet" }, fact.name), " ", h("b", {}, fact.text)),
      ),
    );
  }

  async function open() {
    const asked = model.get("opened");
    view?.remove();
    view = null;
    slot.replaceChildren();
    opened.hidden = !asked;
    if (!asked) return;
    heading.textContent = model.get("heading");
    const manager = model.widget_manager;
    const made = await manager.create_view(await manager.get_model(String(asked).replace("IPY_MODEL_", "")));
    if (model.get("opened") !== asked) return made.remove();
    view = made;
    slot.replaceChildren(made.el);
    opened.scrollIntoView({ block: "nearest" });
  }

  const watched = /** @type {[string, () => void][]} */ ([
    ["change:head", heads],
    ["change:form", () => (form.take(model.get("form")), told())],
    ["change:rows", () => (kept.forget(), draw())],
    ["change:status", told],
    ["change:images", () => (images.take(model.get("images")), draw())],
    ["change:opened", open],
  ]);
  for (const [event, hear] of watched) model.on(event, hear);
  const wide = new ResizeObserver(() => requestAnimationFrame(draw));
  wide.observe(el);
  heads();
  form.take(model.get("form"));
  images.take(model.get("images"));
  draw();
  told();
  open();
  return () => {
    wide.disconnect();
    for (const [event, hear] of watched) model.off(event, hear);
    view?.remove();
    kernel.close();
    leave();
  };
}
