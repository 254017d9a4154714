// The instrument in a notebook: every fuse knob is answered here; the kernel encodes, embeds labels and keeps files.

import { bar } from "./bar.js";
import { carried, chosenOf, merged, newsOf, stateOf } from "./carry.js";
import { h } from "./dom.js";
import { files } from "./files.js";
import { filmstrip } from "./film.js";
import { host } from "./host.js";
import { instrument } from "./instrument.js";
import { Kernel } from "./kernel.js";
import { network } from "./network.js";
import { unpack } from "./scene.js";
import { Session } from "./session.js";

/** @param {{model: any, el: HTMLElement}} place */
export function render({ model, el }) {
  const leave = host(el);
  let away = "",
    refused = "";
  const kernel = new Kernel(model, (text) => {
    away = text;
    told();
  });
  const line = bar({ encode, cancel });
  const asks = network(model.get("asks"), () => {
    refused = "";
    told();
  });
  const stand = h(
    "div",
    { class: "cdi-stand" },
    h("p", { class: "cdi-quiet" }, "Encoding the image \u2026"),
    line.root,
  );
  const kept = files({ ask, splits: model.get("places").splits, most: model.get("places").most });
  const film = filmstrip((place) => look("choose", { place }));
  el.append(stand);
  /** @type {Session | null} */
  let session = null;
  /** @type {ReturnType<typeof instrument> | null} */
  let shown = null;
  /** @type {any} */
  let packed = null;
  let heard = model.get("chosen");
  let opened = false;

  function told() {
    line.update(model.get("status"), Object.keys(asks.values).length, { gone: kernel.gone, away, refused });
  }

  /** Ask the kernel, and tell it first what is chosen here. @param {string} what @param {Record<string, any>} [content] @param {ArrayBuffer[]} [buffers] */
  function ask(what, content = {}, buffers = []) {
    if (!session) return kernel.ask(what, content, buffers);
    const now = chosenOf(session),
      chosen = newsOf(now, heard);
    heard = now;
    return kernel.ask(what, { ...content, chosen }, buffers);
  }

  /** Tell the kernel what is chosen, where that is news. */
  function settle() {
    if (session && !kernel.gone && Object.keys(newsOf(chosenOf(session), heard)).length) ask("follow");
  }

  async function encode() {
    const { error } = await ask("encode", { values: asks.values });
    refused = error;
    asks.refuse(error);
    told();
  }

  function cancel() {
    if (model.get("status").busy || model.get("status").wait) ask("cancel");
    else asks.drop();
  }

  /** @param {string[]} words */
  async function add(words) {
    const { error } = await ask("add", { words });
    if (error && shown) shown.refuse(error);
  }

  /** Show another image. @param {string} what @param {Record<string, number>} content */
  async function look(what, content) {
    refused = (await ask(what, content)).error;
    told();
  }

  /** Show the scene and the choice that the kernel sent. */
  function read() {
    const scene = model.get("scene"),
      chosen = model.get("chosen");
    if (!scene) return;
    if (scene !== packed && scene.still) {
      packed = scene;
      session = null;
      shown?.close();
      shown = null;
      stand.replaceChildren(
        line.root,
        h("img", { class: "cdi-still", src: scene.still, alt: "labels over the image" }),
        h("p", {}, scene.why),
      );
    } else if (scene !== packed) {
      packed = scene;
      const fresh = unpack(scene);
      const both = session ? merged(chosenOf(session), heard, chosen) : chosen;
      session = session ? carried(session, fresh, both) : new Session(fresh, stateOf(chosen, fresh));
      mount(session);
    } else if (session && chosen.by !== kernel.name) {
      session.change(stateOf(merged(chosenOf(session), heard, chosen), session.scene));
    }
    heard = chosen;
  }

  /** @param {Session} now */
  function mount(now) {
    const active = document.activeElement;
    const again =
      shown && active && shown.root.contains(active)
        ? [".cdi-add", ".cdi-picture"].find((one) => active.matches(one))
        : undefined;
    opened = shown ? shown.opened : opened;
    shown?.close();
    shown = instrument(now, {
      add,
      link: null,
      opened,
      kept: shown ? shown.kept : null,
      network: asks,
      rows: [film.root, kept.root, line.root],
      turn: (step) => {
        if (model.get("film").count) look("turn", { step });
      },
      tools: kept.tools,
      code: async () => {
        const { text, error } = await ask("code");
        return text ?? `# ${error}`;
      },
    });
    stand.replaceChildren(shown.root);
    // The picture is there once it is drawn.
    if (again)
      requestAnimationFrame(() =>
        /** @type {HTMLElement | null} */ (now === session ? stand.querySelector(again) : null)?.focus({
          preventScroll: true,
        }),
      );
  }

  const watched = /** @type {[string, () => void][]} */ ([
    ["change:scene", read],
    ["change:chosen", read],
    ["change:status", told],
    ["change:film", () => film.take(model.get("film"))],
    [
      "change:asks",
      () => {
        asks.take(model.get("asks"));
        told();
      },
    ],
  ]);
  for (const [event, act] of watched) model.on(event, act);
  el.addEventListener("pointerleave", settle);
  el.addEventListener("focusout", settle);
  read();
  told();
  film.take(model.get("film"));
  return () => {
    settle();
    for (const [event, act] of watched) model.off(event, act);
    shown?.close();
    kernel.close();
    leave();
  };
}
