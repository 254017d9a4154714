// One picture with its photograph: zoom and pan that other pictures share, a pointer, a pinned pixel, a region, votes.

import { clamp, h, svg } from "./dom.js";

/** @typedef {import("./scene.js").Scene} Scene */

/**
 * Where all pictures of an instrument look: a factor, and the middle of what is seen in shares of the frame.
 * @typedef {{zoom: number, x: number, y: number}} Look
 */

/**
 * A square on the picture, in pixels of the frame.
 * @typedef {{top: number, left: number, height: number, width: number, opacity: number, color: string}} Box
 */

/**
 * What a picture tells; pixels are row and column of the frame.
 * @typedef {object} Heard
 * @property {(pixel: [number, number] | null) => void} hover
 * @property {(pixel: [number, number]) => void} pin
 * @property {(region: [number, number, number, number]) => void} select
 * @property {(look: Look) => void} look
 */

const MOST_ZOOM = 16;
const DRAG = 5;

export class Picture {
  /** @param {Scene} scene @param {Heard} heard @param {string} named what a screen reader says */
  constructor(scene, heard, named) {
    this.scene = scene;
    this.heard = heard;
    /** @type {Look} */
    this.look = { zoom: 1, x: 0.5, y: 0.5 };
    this.photograph = h("img", { class: "cdi-photograph", src: scene.photograph, alt: "", draggable: false });
    this.canvas = h("canvas", { class: "cdi-map", width: scene.width, height: scene.height });
    this.image = new ImageData(scene.width, scene.height);
    this.votes = svg("g");
    this.mark = svg("g", { class: "cdi-mark", visibility: "hidden" });
    this.region = svg("rect", { class: "cdi-region", visibility: "hidden" });
    this.drawing = svg(
      "svg",
      {
        class: "cdi-drawing",
        viewBox: `0 0 ${scene.width} ${scene.height}`,
        preserveAspectRatio: "none",
        "aria-hidden": "true",
      },
      this.votes,
      this.region,
      this.mark,
    );
    this.stage = h("div", { class: "cdi-stage" }, this.photograph, this.canvas, this.drawing);
    this.told = h("div", { class: "cdi-pointer", hidden: true });
    this.root = h(
      "div",
      {
        class: "cdi-picture",
        tabindex: "0",
        role: "application",
        "aria-label": named,
        "aria-roledescription": "picture to choose a pixel from",
        style: { "aspect-ratio": `${scene.size[1]} / ${scene.size[0]}` },
      },
      this.stage,
      this.told,
    );
    this.root.style.setProperty("--cdi-ratio", String(scene.size[1] / scene.size[0]));
    this.drag = /** @type {null | {from: [number, number], at: [number, number], look: Look, pans: boolean}} */ (null);
    this.hear();
  }

  hear() {
    const on = (/** @type {string} */ event, /** @type {(event: any) => void} */ act) =>
      this.root.addEventListener(event, act, { passive: false });
    on("pointerdown", (event) => {
      if (event.button > 1) return;
      this.root.setPointerCapture(event.pointerId);
      const at = /** @type {[number, number]} */ ([event.clientX, event.clientY]);
      this.drag = { from: at, at, look: this.look, pans: event.shiftKey || event.button === 1 };
    });
    on("pointermove", (event) => {
      this.heard.hover(this.pixel(event));
      if (!this.drag) return;
      this.drag.at = [event.clientX, event.clientY];
      if (this.drag.pans) this.pan(this.drag);
      else if (far(this.drag)) this.showRegion(this.dragged(this.drag));
    });
    on("pointerup", (event) => {
      const drag = this.drag;
      this.drag = null;
      if (!drag || drag.pans) return;
      if (far(drag)) this.heard.select(this.dragged(drag));
      else this.heard.pin(this.pixel(event));
    });
    on("pointercancel", () => {
      this.drag = null;
    });
    on("pointerleave", () => {
      if (!this.drag) this.heard.hover(null);
    });
    on("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoomAt(event, Math.exp(-event.deltaY / 300));
    });
  }

  /** @param {{clientX: number, clientY: number}} event @returns {[number, number]} shares of the frame, down and across */
  place({ clientX, clientY }) {
    const box = this.root.getBoundingClientRect();
    const { zoom, x, y } = this.look;
    return [y + ((clientY - box.top) / box.height - 0.5) / zoom, x + ((clientX - box.left) / box.width - 0.5) / zoom];
  }

  /** @param {{clientX: number, clientY: number}} event @returns {[number, number]} */
  pixel(event) {
    const [y, x] = this.place(event);
    const { height, width } = this.scene;
    return [clamp(Math.floor(y * height), 0, height - 1), clamp(Math.floor(x * width), 0, width - 1)];
  }

  /** @param {{from: [number, number], at: [number, number]}} drag @returns {[number, number, number, number]} */
  dragged({ from, at }) {
    const ends = [from, at].map(([clientX, clientY]) => this.pixel({ clientX, clientY }));
    const [ys, xs] = [0, 1].map((axis) => ends.map((end) => end[axis]).sort((one, other) => one - other));
    return [ys[0], xs[0], ys[1] + 1, xs[1] + 1];
  }

  /** @param {{from: [number, number], at: [number, number], look: Look}} drag */
  pan({ from, at, look }) {
    const box = this.root.getBoundingClientRect();
    this.heard.look(
      inside({
        zoom: look.zoom,
        x: look.x - (at[0] - from[0]) / box.width / look.zoom,
        y: look.y - (at[1] - from[1]) / box.height / look.zoom,
      }),
    );
  }

  /** Zoom and keep what is under the pointer there. @param {{clientX: number, clientY: number}} event @param {number} factor */
  zoomAt(event, factor) {
    const [y, x] = this.place(event),
      before = this.look.zoom,
      zoom = clamp(before * factor, 1, MOST_ZOOM);
    const keep = 1 - before / zoom;
    this.heard.look(
      inside({ zoom, x: this.look.x + (x - this.look.x) * keep, y: this.look.y + (y - this.look.y) * keep }),
    );
  }

  /** @param {Look} look */
  setLook(look) {
    this.look = look;
    this.stage.style.transform = `scale(${look.zoom}) translate(${100 * (0.5 - look.x)}%, ${100 * (0.5 - look.y)}%)`;
  }

  /** Put what was painted into `image` on the screen. @param {number} opacity */
  show(opacity) {
    /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d")).putImageData(this.image, 0, 0);
    this.canvas.style.opacity = String(opacity);
  }

  /** @param {string} text */
  say(text) {
    this.told.textContent = text;
    this.told.hidden = text === "";
  }

  /** @param {[number, number] | null} pixel */
  showMark(pixel) {
    this.mark.setAttribute("visibility", pixel ? "visible" : "hidden");
    if (!pixel) return;
    const [y, x] = pixel,
      { height, width } = this.scene;
    const line = (/** @type {any} */ ends) =>
      ["cdi-mark-under", "cdi-mark-over"].map((name) => svg("line", { ...ends, class: name }));
    const far = 0.035 * Math.min(height, width),
      near = far / 3;
    const at = { x: x + 0.5, y: y + 0.5 };
    this.mark.replaceChildren(
      ...[
        [-1, 0],
        [1, 0],
        [0, -1],
        [0, 1],
      ].flatMap(([dy, dx]) =>
        line({ x1: at.x + near * dx, y1: at.y + near * dy, x2: at.x + far * dx, y2: at.y + far * dy }),
      ),
    );
  }

  /** @param {[number, number, number, number] | null} region */
  showRegion(region) {
    this.region.setAttribute("visibility", region ? "visible" : "hidden");
    if (!region) return;
    const [top, left, bottom, right] = region;
    for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) {
      this.region.setAttribute(name, String(value));
    }
  }

  /** Draw the windows that vote. @param {Box[]} boxes */
  showVotes(boxes) {
    // A dark line under a light one is seen on every photograph and under every label.
    this.votes.replaceChildren(
      ...boxes.flatMap(({ top, left, height, width, opacity, color }) => {
        const box = { x: left, y: top, width, height, "stroke-opacity": opacity };
        return [
          svg("rect", { ...box, class: "cdi-vote cdi-under", fill: color, "fill-opacity": 0.06 * opacity }),
          svg("rect", { ...box, class: "cdi-vote", fill: "none" }),
        ];
      }),
    );
  }
}

/** @param {{from: [number, number], at: [number, number]}} drag */
function far({ from, at }) {
  return Math.hypot(at[0] - from[0], at[1] - from[1]) > DRAG;
}

/** Keep the frame in sight. @param {Look} look @returns {Look} */
function inside({ zoom, x, y }) {
  const half = 0.5 / zoom;
  return { zoom, x: clamp(x, half, 1 - half), y: clamp(y, half, 1 - half) };
}

export const WHOLE = Object.freeze({ zoom: 1, x: 0.5, y: 0.5 });

/** @param {Look} look @param {number} factor @returns {Look} */
export function zoomed(look, factor) {
  return inside({ ...look, zoom: clamp(look.zoom * factor, 1, MOST_ZOOM) });
}
