// The instrument: picture, inspector, legend and knobs round one session.

import { captionOf } from "./caption.js";
import { move } from "./carry.js";
import { comparison } from "./compare.js";
import { panel, strip } from "./controls.js";
import { h, number, short } from "./dom.js";
import { inspector } from "./inspector.js";
import { legend } from "./legend.js";
import { paintLabels, paintNumbers } from "./paint.js";
import { Picture, WHOLE, zoomed } from "./picture.js";
import { encode } from "./session.js";
import { download, toolbar } from "./toolbar.js";
import { VIEWS } from "./views.js";
import { choice, view } from "./tabs.js";
import { boxes, place, voters } from "./votes.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./views.js").Shown} Shown */
/** @typedef {import("./picture.js").Look} Look */

/**
 * What the place where an instrument stands can do beyond it.
 * @typedef {object} Host
 * @property {((words: string[]) => void) | null} add embeds new labels
 * @property {(() => string) | null} link address that shows a state
 * @property {((step: number) => void) | null} turn shows the next image
 * @property {(() => Promise<string>) | null} code Python that makes the state; null: from the run
 * @property {import("./controls.js").Extra | null} network knobs that something else than the engine answers
 * @property {HTMLElement[]} tools further ones for the header
 * @property {HTMLElement[]} rows under the header
 * @property {boolean} opened whether all knobs are in sight
 * @property {Kept | null} kept what the instrument before this one showed
 */

/**
 * What stays when another image comes: where the pictures are enlarged, and what is compared.
 * @typedef {object} Kept
 * @property {Look} look
 * @property {import("./session.js").State | null} pinned
 * @property {string} mode
 * @property {import("./scene.js").Scene} scene that of the pinned state
 */

/** A host that can do nothing beyond. @type {Host} */
export const ALONE = {
  add: null,
  link: null,
  turn: null,
  code: null,
  network: null,
  tools: [],
  rows: [],
  opened: false,
  kept: null,
};

/**
 * Build the instrument of a session.
 * @param {Session} session
 * @param {Host} host
 */
export function instrument(session, host) {
  const { scene } = session;
  /** @type {Look} */
  let look = { ...(host.kept?.look ?? WHOLE) };
  /** @type {Picture[]} */
  let pictures = [];
  /** @type {number | null} */
  let highlighted = null;
  let waiting = 0,
    late = 0,
    later = 0;

  const heard = {
    hover: (/** @type {[number, number] | null} */ pixel) => hover(pixel),
    pin: (/** @type {[number, number]} */ pixel) => session.change({ pixel, region: null }),
    select: (/** @type {[number, number, number, number]} */ region) => session.change({ region, pixel: null }),
    look: (/** @type {Look} */ to) => {
      look = to;
      for (const picture of pictures) picture.setLook(to);
    },
  };
  const first = new Picture(scene, heard, `Labels of ${scene.title}`);
  const why = inspector(session, first.photograph, {
    point: (part) =>
      part
        ? pictures[0].showVotes([{ ...place(session, part), opacity: 1, color: winnerColor() }])
        : votes(session.focus),
  });
  const labels = legend(session, {
    add: host.add,
    highlight: (label) => {
      highlighted = label;
      schedule();
    },
  });
  const bar = strip(session),
    all = panel(session, host.network);
  const compare = comparison(session, () => schedule(), {
    pinned: host.kept?.pinned ? { ...session.first, ...move(host.kept.pinned, host.kept.scene, scene) } : null,
    mode: host.kept?.mode ?? "",
  });
  const tabs = choice(session);
  const sight = h("div", { class: "cdi-sight" });
  const caption = h("div", { class: "cdi-caption" });
  const told = h("div", { class: "cdi-told", role: "status" });
  const more = h(
    "button",
    { type: "button", "aria-expanded": "false", on: { click: () => open(all.root.hidden) } },
    "All knobs",
  );
  open(host.opened);

  const head = toolbar(session, host, {
    zoom: (factor) => heard.look(zoomed(look, factor)),
    copy,
    picture: () => download(pictures[0], () => say("The picture was saved to your downloads.")),
  });
  const root = h(
    "div",
    { class: "cdi" },
    head.root,
    ...host.rows,
    scene.about.caution ? h("p", { class: "cdi-caution", role: "note" }, scene.about.caution) : null,
    h("div", { class: "cdi-knobrow" }, bar.root, more),
    all.root,
    h(
      "div",
      { class: "cdi-main" },
      h("div", { class: "cdi-left" }, tabs.root, sight, caption, compare.root),
      labels.root,
      why.root,
    ),
    told,
  );
  root.addEventListener("keydown", pressed);
  const stop = session.listen(() => schedule());

  /** @param {boolean} shown */
  function open(shown) {
    all.root.hidden = !shown;
    more.setAttribute("aria-expanded", String(shown));
    more.textContent = shown ? "Fewer knobs" : "All knobs";
    all.update();
  }

  function winnerColor() {
    const [pixel] = session.focus;
    return pixel === undefined ? "#888888" : session.colors[session.decision().labels[pixel]];
  }

  /** Draw the windows that vote at some pixels. @param {number[]} pixels */
  function votes(pixels) {
    if (!pixels.length) {
      for (const picture of pictures) picture.showVotes([]);
      return;
    }
    const { labels: won } = session.decision();
    const label =
      pixels.length === 1 ? won[pixels[0]] : session.engine.story(session.state.knobs, session.hidden, pixels).winner;
    const shown = boxes(session, voters(session, pixels, label), session.colors[label]);
    for (const picture of pictures) picture.showVotes(shown);
  }

  /** @param {[number, number] | null} pixel */
  function hover(pixel) {
    clearTimeout(waiting);
    if (!pixel) {
      for (const picture of pictures) picture.say("");
      votes(session.focus);
      return;
    }
    const [y, x] = pixel,
      at = y * scene.width + x;
    const { labels: won, margin } = session.decision();
    const score =
      session.state.knobs.refine === "none"
        ? session.engine.story(session.state.knobs, session.hidden, [at]).scores[0]
        : null;
    const row = Math.floor(((y + 0.5) * scene.size[0]) / scene.height),
      col = Math.floor(((x + 0.5) * scene.size[1]) / scene.width);
    const text = `x ${col}, y ${row} \u00b7 ${short(scene.labels[won[at]])}${score === null ? "" : ` ${number(score)}`} \u00b7 margin ${number(margin[at])}`;
    for (const picture of pictures) picture.say(text);
    // A refinement asks hundreds of pixels round this one, so it waits until the pointer rests.
    if (session.state.knobs.refine === "none") votes([at]);
    else waiting = window.setTimeout(() => votes([at]), 250);
  }

  /** @param {KeyboardEvent} event */
  function pressed(event) {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if ((event.ctrlKey || event.metaKey) && !typing && "zy".includes(event.key.toLowerCase())) {
      event.preventDefault();
      if (event.key.toLowerCase() === "y" || event.shiftKey) session.redo();
      else session.undo();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const onPicture = event.target instanceof HTMLElement && event.target.classList.contains("cdi-picture");
    const steps = /** @type {Record<string, [number, number]>} */ ({
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
    });
    if (onPicture && steps[event.key]) {
      const [y, x] = session.state.pixel ?? [scene.height >> 1, scene.width >> 1],
        far = event.shiftKey ? 8 : 1;
      const [down, right] = steps[event.key];
      const inside = (/** @type {number} */ value, /** @type {number} */ side) =>
        Math.min(Math.max(value, 0), side - 1);
      session.change({
        pixel: [inside(y + far * down, scene.height), inside(x + far * right, scene.width)],
        region: null,
      });
    } else if (onPicture && (event.key === "+" || event.key === "=")) heard.look(zoomed(look, 1.5));
    else if (onPicture && event.key === "-") heard.look(zoomed(look, 1 / 1.5));
    else if (onPicture && event.key === "0") heard.look({ ...WHOLE });
    else if (onPicture && event.key === "Escape") session.change({ pixel: null, region: null });
    else if (host.turn && event.key === "n") host.turn(1);
    else if (host.turn && event.key === "p") host.turn(-1);
    else return;
    event.preventDefault();
  }

  /** @param {string} text @param {string} what */
  async function copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      say(`The ${what} was copied to the clipboard.`);
    } catch {
      // Without a permission (a page from a file) the text is shown, to be copied by hand.
      told.replaceChildren(h("pre", { tabindex: "0" }, text));
    }
  }

  /** @param {string} text */
  function say(text) {
    told.textContent = text;
  }

  function viewName() {
    return compare.mode ? "labels" : view(session);
  }

  /** @returns {Shown[]} */
  function shown() {
    const made = VIEWS[viewName()].show(session);
    if (compare.mode === "side" && compare.pinned) {
      const before = { ...made[0], labels: session.decision(compare.pinned).labels, marker: "A" };
      return [before, { ...made[0], marker: "B" }];
    }
    if (compare.mode) return [{ ...made[0], labels: compare.labels() }];
    return made;
  }

  function draw() {
    const made = shown();
    arrange(made);
    made.forEach((one, at) => paint(pictures[at], one));
    caption.replaceChildren(...captionOf(session, viewName(), made[0]));
    for (const picture of pictures) {
      picture.showMark(session.state.pixel);
      picture.showRegion(session.state.region);
    }
  }

  /** As many pictures as the view has. @param {Shown[]} made */
  function arrange(made) {
    while (pictures.length < made.length) {
      const picture = pictures.length ? new Picture(scene, heard, `Picture ${pictures.length + 1}`) : first;
      picture.setLook(look);
      pictures.push(picture);
    }
    pictures = pictures.slice(0, made.length);
    const markers = made.map((one) => one.marker ?? "").join("\n");
    if (sight.dataset.count === String(made.length) && sight.dataset.markers === markers) return;
    const active = document.activeElement;
    sight.replaceChildren(
      ...pictures.map((picture, at) =>
        h("figure", {}, made[at].marker ? h("figcaption", {}, made[at].marker ?? "") : null, picture.root),
      ),
    );
    Object.assign(sight.dataset, { count: String(made.length), markers });
    if (active instanceof HTMLElement && sight.contains(active)) active.focus();
  }

  /** @param {Picture} picture @param {Shown} one */
  function paint(picture, one) {
    if (one.labels) {
      const clear = new Set(one.clear && !one.palette && scene.background >= 0 ? [scene.background] : []);
      if (highlighted !== null && !one.palette)
        scene.labels.forEach((_, label) => (label === highlighted ? clear.delete(label) : clear.add(label)));
      paintLabels(one.labels, one.palette?.colors ?? session.colors, clear, picture.image.data);
    } else if (one.values && one.scale) paintNumbers(one.values, one.scale, picture.image.data);
    else picture.image.data.fill(0);
    picture.show(one.labels ? session.state.opacity : Math.max(session.state.opacity, 0.9));
  }

  /** Draw the picture at the next frame; everything round it follows, so that a slider never waits for words. */
  function schedule() {
    if (late) return;
    late = requestAnimationFrame(() => {
      late = 0;
      session.rough = !session.engine.ready(session.state.knobs, session.hidden);
      root.classList.toggle("cdi-busy", session.rough);
      draw();
      clearTimeout(later);
      later = window.setTimeout(session.rough ? refine : around, session.rough ? 80 : 0);
    });
  }

  function refine() {
    session.rough = false;
    draw();
    around();
    root.classList.remove("cdi-busy");
  }

  function around() {
    head.update();
    tabs.update(viewName());
    compare.update();
    labels.update();
    bar.update();
    if (!all.root.hidden) all.update();
    why.update();
    votes(session.focus);
  }

  first.photograph.addEventListener("load", () => schedule());
  schedule();
  return {
    root,
    /** Text for an address. */
    get address() {
      return encode(session.changed);
    },
    /** What the next instrument may show again. @returns {Kept} */
    get kept() {
      return { look, pinned: compare.pinned, mode: compare.mode, scene };
    },
    /** Whether all knobs are in sight. */
    get opened() {
      return !all.root.hidden;
    },
    say,
    refuse: labels.refuse,
    close() {
      stop();
      compare.close();
      labels.close();
      clearTimeout(waiting);
      clearTimeout(later);
      cancelAnimationFrame(late);
    },
  };
}
