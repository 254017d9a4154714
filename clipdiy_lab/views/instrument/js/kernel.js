// The kernel behind a notebook's instrument: questions with answers, and whether it is there at all.

/** @typedef {{answer: number, error: string, text?: string, told?: string}} Answer */

/** Without an answer after this time somebody should know that the kernel may be busy, milliseconds. */
const PATIENCE = 1500;
const GONE =
  "The kernel has stopped, so nothing new can be encoded, added or saved. The knobs still work; run the cell again for the rest.";
const BUSY = "The kernel has not answered yet. It may be busy with a cell.";

export class Kernel {
  /**
   * @param {any} model anywidget's
   * @param {(text: string) => void} say where the kernel is; empty while all is well
   * @param {string} [without] what there is without a kernel
   */
  constructor(model, say, without = GONE) {
    this.model = model;
    this.without = without;
    this.say = say;
    this.gone = false;
    this.count = 0;
    /** Names this view in what it tells the kernel. */
    this.name = Math.random().toString(36).slice(2);
    /** @type {Map<number, (answer: Answer) => void>} */
    this.waiting = new Map();
    this.timer = 0;
    this.heard = (/** @type {any} */ message) => this.hear(message);
    this.lost = () => this.lose();
    this.status = (/** @type {any} */ _, /** @type {string} */ status) => {
      if (["dead", "restarting", "autorestarting", "terminating"].includes(status)) this.lose();
    };
    model.on("msg:custom", this.heard);
    model.on("comm_live_update", this.lost);
    model.on("comm:close", this.lost);
    model.on("destroy", this.lost);
    this.connection = model.widget_manager?.kernel;
    this.connection?.statusChanged?.connect(this.status);
  }

  /** @param {any} message */
  hear(message) {
    const done = this.waiting.get(message?.answer);
    if (!done) return;
    this.waiting.delete(message.answer);
    if (!this.waiting.size) this.rest();
    done(message);
  }

  rest() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (!this.gone) this.say("");
  }

  lose() {
    if (this.gone) return;
    this.gone = true;
    clearTimeout(this.timer);
    this.say(this.without);
    for (const [number, done] of this.waiting) done({ answer: number, error: this.without });
    this.waiting.clear();
  }

  /**
   * Ask for something; never fails, what went wrong is in the answer.
   * @param {string} what
   * @param {Record<string, any>} [content]
   * @param {ArrayBuffer[]} [buffers]
   * @returns {Promise<Answer>}
   */
  ask(what, content = {}, buffers = []) {
    const id = ++this.count;
    if (this.gone) return Promise.resolve({ answer: id, error: this.without });
    return new Promise((done) => {
      this.waiting.set(id, done);
      if (!this.timer) this.timer = window.setTimeout(() => this.say(BUSY), PATIENCE);
      try {
        this.model.send({ what, id, by: this.name, ...content }, undefined, buffers);
      } catch {
        // The channel of a kernel that was shut down refuses.
        this.lose();
      }
    });
  }

  close() {
    clearTimeout(this.timer);
    this.model.off("msg:custom", this.heard);
    for (const event of ["comm_live_update", "comm:close", "destroy"]) this.model.off(event, this.lost);
    this.connection?.statusChanged?.disconnect(this.status);
  }
}
