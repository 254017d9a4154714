// The rows of a grid: named by what varies, sorted by any column, the best one marked.

import { h, number } from "./dom.js";

/** @typedef {import("./board.js").Row} Row */
/** @typedef {import("./board.js").Told} Told */
/** @typedef {{title: string, more?: string, numeric: boolean, of: (row: Row) => number | string | null}} Column */

const NEAR = "cannot be told apart from the best";

/**
 * @param {(row: number) => void} choose
 */
export function rowTable(choose) {
  const head = h("tr"),
    body = h("tbody");
  const caption = h("caption", { class: "cdi-quiet" });
  const table = h("table", { class: "cdi-rows" }, caption, h("thead", {}, head), body);
  const root = h("div", { class: "cdi-scroll cdi-rowtable" }, table);
  const published = h("div");
  /** @type {{title: string, down: boolean} | null} */
  let order = null;
  /** @type {Told | null} */
  let told = null;
  let selected = /** @type {number | null} */ (null);

  /** @param {Column} column */
  function sort({ title, numeric }) {
    const first = numeric && !told?.knobs.some((knob) => knob.title === title);
    if (order?.title !== title) order = { title, down: first };
    else order = order.down === first ? { title, down: !first } : null;
    draw();
    const buttons = /** @type {NodeListOf<HTMLElement>} */ (head.querySelectorAll("button"));
    for (const one of buttons) if (one.dataset.title === title) one.focus();
  }

  function draw() {
    if (!told) return;
    const columns = columnsOf(told);
    const by = columns.find(({ title }) => title === order?.title);
    head.replaceChildren(
      ...columns.map((column) => {
        const sorted = column === by ? (order?.down ? "descending" : "ascending") : "none";
        const mark = sorted === "none" ? "" : sorted === "descending" ? " \u25be" : " \u25b4";
        return h(
          "th",
          { scope: "col", "aria-sort": sorted, class: column.numeric ? "cdi-right" : null },
          h(
            "button",
            { type: "button", "data-title": column.title, title: column.more, on: { click: () => sort(column) } },
            column.title,
            h("span", { "aria-hidden": "true" }, mark),
          ),
        );
      }),
    );
    const rows = by ? sorted(told.rows, by.of, Boolean(order?.down)) : told.rows;
    body.replaceChildren(...rows.map((row) => line(row, /** @type {Told} */ (told))));
    caption.textContent = told.rows.some(({ behind }) => behind && !behind.apart)
      ? `\u2248 ${NEAR} on these images (paired bootstrap, 95 %).`
      : "";
  }

  /** @param {Row} row @param {Told} all */
  function line(row, { knobs, best }) {
    const [first, ...rest] = row.values;
    const name = h(
      "button",
      {
        type: "button",
        "aria-label": `${row.name}: show its images`,
        title: row.error ? row.error : "Show its images",
        on: { click: (/** @type {Event} */ event) => (event.stopPropagation(), choose(row.row)) },
      },
      first.text,
    );
    const scores = row.error
      ? [h("td", { colspan: 4, class: "cdi-refused cdi-why" }, row.error)]
      : [
          h(
            "td",
            { class: "cdi-right" },
            row.row === best && h("span", { class: "cdi-best" }, "best"),
            digits(row.miou),
          ),
          h("td", { class: "cdi-right cdi-interval" }, `${digits(row.miou_low)} to ${digits(row.miou_high)}`),
          h("td", { class: "cdi-right" }, digits(row.pixel_accuracy)),
          h("td", { class: "cdi-right cdi-behind" }, ...behind(row)),
        ];
    return h(
      "tr",
      {
        "data-row": row.row,
        "aria-current": row.row === selected ? "true" : null,
        on: { click: () => choose(row.row) },
      },
      h("th", { scope: "row", class: knobs[0]?.numeric ? "cdi-right" : null }, name),
      ...rest.map((value, at) => h("td", { class: knobs[at + 1].numeric ? "cdi-right" : null }, value.text)),
      ...scores,
    );
  }

  return {
    root,
    published,
    /** @param {Told} now @param {number | null} row whose images are shown */
    take(now, row) {
      told = now;
      selected = row;
      draw();
      published.replaceChildren(...(now.published.length ? [others(now)] : []));
    },
  };
}

/** @param {Told} told @returns {Column[]} */
function columnsOf({ knobs }) {
  return [
    ...knobs.map(({ title, numeric }, at) => ({
      title,
      numeric,
      of: (/** @type {Row} */ row) => (numeric ? row.values[at].number : row.values[at].text),
    })),
    { title: "mIoU, %", numeric: true, of: (row) => row.miou },
    { title: "95 % interval", more: "Bootstrap over images", numeric: true, of: (row) => row.miou_low },
    { title: "accuracy, %", more: "Pixel accuracy", numeric: true, of: (row) => row.pixel_accuracy },
    {
      title: "behind the best",
      more: "Points of mIoU, with the interval of a paired bootstrap",
      numeric: true,
      of: (row) => (row.behind ? -row.behind.points : row.miou === null ? null : 0),
    },
  ];
}

/**
 * Sort rows; those without a value come last, whichever way.
 * @param {Row[]} rows @param {(row: Row) => number | string | null} of @param {boolean} down
 */
export function sorted(rows, of, down) {
  return [...rows].sort((one, other) => {
    const [a, b] = [of(one), of(other)];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    const way = typeof a === "string" ? a.localeCompare(String(b), "en", { numeric: true }) : a - Number(b);
    return down ? -way : way;
  });
}

/** @param {Row} row */
function behind({ behind: found }) {
  if (!found) return ["\u2013"];
  const near = found.apart
    ? []
    : [
        h("span", { "aria-hidden": "true", title: `It ${NEAR}` }, "\u2248 "),
        h("span", { class: "cdi-unseen" }, `${NEAR}, `),
      ];
  const interval = `${number(found.low_points, 1)} to ${number(found.high_points, 1)}`;
  return [...near, number(found.points, 2), h("span", { class: "cdi-quiet" }, ` (${interval})`)];
}

/** @param {number | null} value */
function digits(value) {
  return value === null ? "\u2013" : number(value, 1);
}

/** @param {Told} told */
function others({ published }) {
  const titles = ["published", "backbone", "mIoU, %", "protocol as noted", "source"];
  return h(
    "details",
    { class: "cdi-published" },
    h("summary", {}, `${published.length} published values`),
    h(
      "div",
      { class: "cdi-scroll" },
      h(
        "table",
        { class: "cdi-rows" },
        h("thead", {}, h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title)))),
        h(
          "tbody",
          {},
          ...published.map((one) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, one.method),
              ...[one.backbone, number(one.miou, 1), one.protocol, one.source].map((text) =>
                h("td", { class: "cdi-why" }, text),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
