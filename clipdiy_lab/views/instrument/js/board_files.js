// What came of a grid as files: table and figure, and LaTeX for the clipboard.

import { h } from "./dom.js";

/** @typedef {import("./kernel.js").Answer} Answer */

const KINDS = {
  tex: "LaTeX table (.tex)",
  csv: "all columns (.csv)",
  md: "Markdown table (.md)",
  svg: "figure (.svg)",
  pdf: "figure (.pdf)",
  png: "figure (.png)",
  html: "figure (.html)",
};

/** @param {(what: string, content?: Record<string, any>) => Promise<Answer>} ask */
export function files(ask) {
  const told = h("span", { role: "status" }),
    refused = h("span", { class: "cdi-refused", role: "alert" });
  const kind = h(
    "select",
    { "aria-label": "What to export", on: { change: renamed } },
    ...Object.entries(KINDS).map(([value, title]) => h("option", { value }, title)),
  );
  const path = h("input", { type: "text", value: "board.tex", "aria-label": "File to export to" });
  function renamed() {
    path.value = `${path.value.replace(/\.\w+$/, "")}.${kind.value}`;
    forget();
  }
  function forget() {
    told.textContent = refused.textContent = "";
  }
  async function write() {
    const answer = await ask("export", { path: path.value.trim() });
    refused.textContent = answer.error;
    told.textContent = answer.told ?? "";
  }
  async function copy() {
    const { text, error } = await ask("latex");
    refused.textContent = error;
    if (text === undefined) return;
    try {
      await navigator.clipboard.writeText(text);
      told.textContent = "LaTeX copied.";
    } catch {
      refused.textContent = "The browser does not allow copying; export a .tex file instead.";
    }
  }
  const root = h(
    "div",
    { class: "cdi-files cdi-boardfiles", hidden: true },
    h(
      "fieldset",
      {},
      h("legend", {}, "Export"),
      kind,
      path,
      h("button", { type: "button", class: "cdi-export", on: { click: write } }, "Export"),
      h("button", { type: "button", on: { click: copy } }, "Copy LaTeX"),
    ),
    told,
    refused,
  );
  return { root, forget };
}
