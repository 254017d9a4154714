// The rows as a plot in the colours of the theme: points over one knob, a heat map over two, bars over more.

import { h, number, short, svg } from "./dom.js";
import { rgb } from "./paint.js";

/** @typedef {import("./board.js").Row} Row */
/** @typedef {import("./board.js").Told} Told */
/** @typedef {{width: number, selected: number | null, choose: (row: number) => void}} View */
/** @typedef {Row & {miou: number, miou_low: number, miou_high: number}} Scored */

const LETTER = 7,
  LINE = 16;

/** @param {Told} told @param {View} view @returns {Element} */
export function plot(told, view) {
  const scored = /** @type {Scored[]} */ (told.rows.filter(({ miou }) => miou !== null));
  if (!scored.length) return h("p", { class: "cdi-quiet" }, "No row has a score yet.");
  const draw = told.knobs.length === 1 ? points : told.knobs.length === 2 ? heat : bars;
  return draw(told, scored, view);
}

/** Round steps over a range. @param {number} low @param {number} high @param {number} count */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((one) => one * power >= rough) ?? 10);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + 1e-9 * step; at++) found.push(at * step);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/**
 * @param {number} width @param {number} height @param {string} label
 * @param {...(Element | null)} parts
 */
function picture(width, height, label, ...parts) {
  const all = /** @type {Element[]} */ (parts.filter((part) => part !== null));
  const known = { width, height, viewBox: `0 0 ${width} ${height}`, class: "cdi-plot", role: "img" };
  return svg("svg", { ...known, "aria-label": label }, ...all);
}

/** @param {string} text @param {number} x @param {number} y @param {Record<string, any>} [more] */
function words(text, x, y, more = {}) {
  const made = svg("text", { x, y, ...more });
  made.textContent = text;
  return made;
}

/** @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {string} kind */
const rule = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });

/** @param {Told} told */
const axis = ({ protocol }) => (protocol ? `mIoU, % (${protocol})` : "mIoU, %");

/** A part of the plot that stands for a row. @param {Row} row @param {Told} told @param {View} view @param {...Element} parts */
function mark(row, told, view, ...parts) {
  const told_ = svg("title");
  told_.textContent =
    row.miou === null
      ? `${row.name}: ${row.error || "no score"}`
      : `${row.name}: mIoU ${number(row.miou, 2)} % (${number(Number(row.miou_low), 1)} to ${number(Number(row.miou_high), 1)})`;
  const kinds = ["cdi-rowmark", row.row === told.best && "cdi-top", row.row === view.selected && "cdi-chosen"];
  const made = svg("g", { class: kinds.filter(Boolean).join(" "), "data-row": row.row }, told_, ...parts);
  made.addEventListener("click", () => view.choose(row.row));
  return made;
}

/** Published values; what several papers tabulate of a method is one value. @param {Told} told @returns {[string, number][]} */
function others({ published }) {
  const known = new Map(published.map(({ method, miou }) => [`${method} ${number(miou, 1)}`, { method, miou }]));
  return [...known.values()].map(({ method, miou }) => [method, miou]);
}

/**
 * Where an axis of numbers is marked: at the rows' own values where these have room, else in round steps.
 * @param {number[]} numbers @param {number} from @param {number} to @param {(value: number) => number} x @param {number} count
 * @returns {[string, number][]}
 */
function marks(numbers, from, to, x, count) {
  const own = [...new Set(numbers)].sort((one, other) => one - other);
  if (own.length < 9 && own.every((value, at) => !at || x(value) - x(own[at - 1]) > 6 * LETTER))
    return own.map((value) => [String(Number(value.toPrecision(6))).replace("-", "\u2212"), value]);
  const { values, digits } = ticks(from, to, count);
  return values.map((value) => [number(value, digits), value]);
}

/** @param {Told} told @param {Scored[]} rows @param {View} view */
function points(told, rows, view) {
  const { width } = view,
    height = 320;
  const knob = told.knobs[0];
  const known = others(told);
  const all = [...rows.flatMap(({ miou_low, miou_high }) => [miou_low, miou_high]), ...known.map(([, miou]) => miou)];
  const low = Math.min(...all),
    high = Math.max(...all),
    pad = 0.08 * (high - low || 1);
  const across = ticks(low - pad, high + pad, 5);
  const left = 22 + LETTER * Math.max(...across.values.map((value) => number(value, across.digits).length)) + 8;
  const right = 20,
    top = 18,
    bottom = 46;
  const numbers = knob.numeric ? rows.map(({ values }) => Number(values[0].number)) : [];
  const [from, to] = knob.numeric ? [Math.min(...numbers), Math.max(...numbers)] : [-0.5, told.rows.length - 0.5];
  const room = knob.numeric ? 12 : 0;
  const x = (/** @type {number} */ value) =>
    left + room + ((value - from) / (to - from || 1)) * (width - left - right - 2 * room);
  const y = (/** @type {number} */ value) =>
    top + (1 - (value - low + pad) / (high - low + 2 * pad)) * (height - top - bottom);
  const at = (/** @type {Row} */ row) =>
    x(knob.numeric ? Number(row.values[0].number) : told.rows.findIndex((one) => one.row === row.row));
  const below = knob.numeric ? marks(numbers, from, to, x, Math.min(6, width / 80)) : null;
  const step = (width - left - right) / told.rows.length;
  const ordered = knob.numeric ? [...rows].sort((one, other) => at(one) - at(other)) : rows;
  const path = ordered.map((row) => `${at(row).toFixed(1)},${y(row.miou).toFixed(1)}`).join(" ");
  return picture(
    width,
    height,
    `mIoU of ${rows.length} rows over ${knob.title}; the table has the numbers`,
    ...across.values.flatMap((value) => [
      rule(left, y(value), width - right, y(value), "cdi-gridline"),
      words(number(value, across.digits), left - 8, y(value) + 4, { "text-anchor": "end" }),
    ]),
    ...(below
      ? below.map(([text, value]) => words(text, x(value), height - bottom + 18, middle))
      : told.rows.map((row, place) =>
          words(short(row.values[0].text, Math.max(3, step / LETTER)), x(place), height - bottom + 18, middle),
        )),
    words(knob.title, (left + width - right) / 2, height - 8, { ...middle, class: "cdi-axistitle" }),
    words(axis(told), 0, 0, {
      ...middle,
      class: "cdi-axistitle",
      transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)`,
    }),
    ...known.map(([, miou]) => rule(left, y(miou), width - right, y(miou), "cdi-theirs")),
    knob.numeric ? svg("polyline", { points: path, class: "cdi-trace" }) : null,
    ...rows.map((row) =>
      mark(
        row,
        told,
        view,
        rule(at(row), y(row.miou_low), at(row), y(row.miou_high), "cdi-whisker"),
        svg("circle", { cx: at(row), cy: y(row.miou), r: 12, class: "cdi-hit" }),
        svg("circle", { cx: at(row), cy: y(row.miou), r: 5.5, class: "cdi-dot" }),
      ),
    ),
    // Many lines would write their names over each other; the table has them.
    ...(known.length > 3
      ? []
      : known.map(([name, miou]) =>
          words(`${name}, published: ${number(miou, 1)}`, left + 6, y(miou) + 15, { class: "cdi-over" }),
        )),
    ...rows
      .filter(({ row }) => row === told.best)
      .map((row) =>
        words("best", at(row) + (at(row) > width - 60 ? -10 : 10), y(row.miou) - 8, {
          "text-anchor": at(row) > width - 60 ? "end" : "start",
          class: "cdi-besttext",
        }),
      ),
  );
}

const middle = { "text-anchor": "middle" };

/** @param {Told} told @param {Scored[]} rows @param {View} view */
function heat(told, rows, view) {
  const { width } = view;
  const [first, second] = told.knobs;
  const across = [...new Set(told.rows.map(({ values }) => values[0].text))],
    down = [...new Set(told.rows.map(({ values }) => values[1].text))];
  const left = 30 + LETTER * Math.min(18, Math.max(...down.map((text) => text.length)));
  const top = 6,
    tall = 40,
    cell = (width - left - 8) / across.length;
  const height = top + tall * down.length + 46;
  const scores = rows.map(({ miou }) => miou);
  const low = Math.min(...scores),
    span = Math.max(...scores) - low || 1;
  return picture(
    width,
    height,
    `mIoU of ${rows.length} rows over ${first.title} and ${second.title}; the table has the numbers`,
    ...told.rows.map((row) => {
      const x = left + cell * across.indexOf(row.values[0].text),
        y = top + tall * down.indexOf(row.values[1].text);
      const share = row.miou === null ? null : (row.miou - low) / span;
      const color = share === null ? "" : told.colors[Math.round(share * (told.colors.length - 1))];
      const box = { x: x + 1, y: y + 1, width: Math.max(1, cell - 2), height: tall - 2, rx: 4 };
      const text = row.miou === null ? "\u2013" : number(row.miou, 1);
      const ink = color ? { style: `fill:${inkOn(color)}` } : {};
      const best = row.row === told.best;
      const fits = cell > LETTER * text.length + 4;
      return mark(
        row,
        told,
        view,
        svg("rect", { ...box, class: "cdi-cell", ...(color ? { style: `fill:${color}` } : {}) }),
        ...(fits
          ? [words(text, x + cell / 2, y + tall / 2 + (best ? -1 : 4), { ...middle, ...ink, class: "cdi-cellvalue" })]
          : []),
        ...(fits && best ? [words("best", x + cell / 2, y + tall / 2 + 12, { ...middle, ...ink })] : []),
      );
    }),
    ...across.map((text, at) =>
      words(short(text, Math.max(2, cell / LETTER)), left + cell * (at + 0.5), height - 28, middle),
    ),
    ...down.map((text, at) => words(short(text, 18), left - 8, top + tall * (at + 0.5) + 4, { "text-anchor": "end" })),
    words(first.title, left + (cell * across.length) / 2, height - 8, { ...middle, class: "cdi-axistitle" }),
    words(second.title, 0, 0, {
      ...middle,
      class: "cdi-axistitle",
      transform: `translate(13 ${top + (tall * down.length) / 2}) rotate(-90)`,
    }),
  );
}

/** Black or white, whichever reads better on a colour. @param {string} color */
function inkOn(color) {
  const [r, g, b] = rgb(color).map((value) => (value / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff";
}

/** What tells a row apart, without the names of the knobs. @param {Row} row */
const valuesOf = ({ values }) => values.map(({ text }) => text).join(", ");

/** @param {Told} told @param {Scored[]} rows @param {View} view */
function bars(told, rows, view) {
  const { width } = view,
    tall = 24,
    top = 4;
  const known = others(told).map(([name, miou]) => ({ name: `${name} (published)`, miou }));
  const names = [...rows.map(valuesOf), ...known.map(({ name }) => name)];
  const letters = Math.min(Math.max(...names.map((name) => name.length)), Math.floor(width / 2 / LETTER));
  const left = 8 + LETTER * letters,
    right = 46;
  const high = Math.max(...rows.map(({ miou_high }) => miou_high), ...known.map(({ miou }) => miou), 1);
  const height = top + tall * names.length + 40;
  const x = (/** @type {number} */ value) => left + (value / high) * (width - left - right);
  const y = (/** @type {number} */ place) => top + tall * place;
  const scale = ticks(0, high, Math.min(5, (width - left) / 70));
  const label = (/** @type {string} */ name, /** @type {number} */ place) =>
    words(short(name, letters), left - 8, y(place) + tall / 2 + 4, { "text-anchor": "end" });
  const end = y(names.length);
  return picture(
    width,
    height,
    `mIoU of ${rows.length} rows; the table has the numbers`,
    ...scale.values.flatMap((value) => [
      rule(x(value), top, x(value), end, "cdi-gridline"),
      words(number(value, scale.digits), x(value), end + LINE, middle),
    ]),
    words(axis(told), (left + width - right) / 2, height - 4, { ...middle, class: "cdi-axistitle" }),
    ...rows.map((row, place) =>
      mark(
        row,
        told,
        view,
        svg("rect", { x: 0, y: y(place), width, height: tall, class: "cdi-hit" }),
        svg("rect", {
          x: left,
          y: y(place) + 5,
          width: x(row.miou) - left,
          height: tall - 10,
          rx: 2,
          class: "cdi-rowbar",
        }),
        rule(x(row.miou_low), y(place) + tall / 2, x(row.miou_high), y(place) + tall / 2, "cdi-whisker"),
        label(valuesOf(row), place),
        words(number(row.miou, 1), x(row.miou_high) + 6, y(place) + tall / 2 + 4),
      ),
    ),
    ...known.flatMap(({ name, miou }, at) => {
      const place = rows.length + at;
      return [
        svg("rect", {
          x: left,
          y: y(place) + 5,
          width: x(miou) - left,
          height: tall - 10,
          rx: 2,
          class: "cdi-theirbar",
        }),
        label(name, place),
        words(number(miou, 1), x(miou) + 6, y(place) + tall / 2 + 4),
      ];
    }),
  );
}
