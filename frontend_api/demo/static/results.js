// @ts-check
// Candidates, the cut-out of the chosen one, kept objects and what can be saved of them.

import { ask } from "./api.js";
import { blobOf, cocoOf, laidOver, save, svgOf } from "./save.js";
import { pathOf } from "./stage.js";

/** @typedef {import("./stage.js").Polygon} Polygon */
/** @typedef {{score: number, polygons: Polygon[], rle: any, measures: {bbox: number[], area: number}}} Result */

const COLOURS = ["#e8590c", "#2f9e44", "#1c7ed6", "#ae3ec9", "#f08c00", "#0c8599", "#c2255c"];
const METHODS = ["ease_out_power", "ease_out_exp", "linear", "cosine", "sigmoid", "exponential", "none"];
const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

export class Results {
  /**
   * @param {{stage: import("./stage.js").Stage, say: (text: string, error?: boolean) => void, changed: () => void,
   *   fields: () => object, photo: () => {file: File, image: any} | null, kept: () => void}} page
   */
  constructor(page) {
    this.page = page;
    /** @type {Result[]} */
    this.all = [];
    this.chosen = 0;
    /** @type {import("./save.js").Thing[]} */
    this.things = [];
    this.asked = new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    $("method").append(...METHODS.map((name) => new Option(name.replaceAll("_", " "), name)));
    for (const id of ["method", "width", "frame"]) $(id).oninput = () => this.preview();
    for (const id of ["background", "colour"]) $(id).oninput = () => this.ground();
    $("downloads").onclick = (/** @type {any} */ event) => this.take(event.target.dataset.kind);
    $("keep").onclick = () => this.keep();
  }

  restart() {
    this.things = [];
    this.list();
    this.show([]);
  }

  get colour() {
    return COLOURS[this.things.length % COLOURS.length];
  }

  outlines() {
    const kept = this.things.map(({ polygons, colour }) => ({ path: pathOf(polygons), colour, tint: true }));
    const chosen = this.all[this.chosen];
    return chosen ? [...kept, { path: pathOf(chosen.polygons), colour: this.colour, tint: true }] : kept;
  }

  /** @param {Result[]} answered */
  show(answered) {
    this.all = answered.map((result, index) => ({ ...result, index })).filter(({ measures }) => measures.area > 0);
    $("panel").hidden = !answered.length && !this.things.length;
    const { photo } = this.page.stage;
    $("candidates").replaceChildren(...this.all.map((result, index) => {
      const button = document.createElement("button");
      button.setAttribute("role", "radio");
      const canvas = document.createElement("canvas");
      if (photo) thumbnail(canvas, photo, result.polygons, this.colour);
      const sure = Math.round(100 * Math.min(1, Math.max(0, result.score)));
      button.append(canvas, `${sure} % sure`);
      button.onclick = () => this.choose(index);
      return button;
    }));
    if (answered.length && !this.all.length) this.page.say("Nothing found there; click somewhere else.");
    this.chosen = 0;
    this.choose(0);
  }

  /** @param {number} index */
  choose(index) {
    if (index >= this.all.length) { if (!this.all.length) this.page.changed(); return; }
    this.chosen = index;
    [...$("candidates").children].forEach((button, number) => button.setAttribute("aria-checked", String(number === index)));
    this.page.changed();
    this.preview();
  }

  /** Ask for the cut-out as it would be saved, a moment after the last change. */
  preview() {
    document.querySelector("output").textContent = $("width").value;
    clearTimeout(this.timer);
    this.asked.abort();
    this.timer = setTimeout(async () => {
      const result = /** @type {any} */ (this.all[this.chosen]);
      if (!result) return;
      this.asked = new AbortController();
      const body = this.request(result.index);
      $("request").textContent = requests(body);
      try {
        const answered = await ask("api/run", body, this.asked.signal, () => {});
        this.cutout = answered.results[result.index].masked_image;
        await this.ground();
      } catch (error) {
        if (!this.asked.signal.aborted) this.page.say("The cut-out could not be made; change something to try again.", true);
      }
    }, 120);
  }

  /** @param {number} index */
  request(index) {
    return {
      ...this.page.fields(), outputs: ["cutout"], candidates: index + 1, feather_method: $("method").value,
      feather_width: Number($("width").value), crop: $("frame").checked ? "frame" : "object",
    };
  }

  async ground() {
    $("colour").hidden = $("background").value !== "colour";
    if (!this.cutout) return;
    $("result").src = $("background").value === "none" ? this.cutout : (await this.canvas()).toDataURL();
  }

  async canvas() {
    const photo = /** @type {ImageBitmap} */ (this.page.stage.photo);
    const [x, y] = this.all[this.chosen].measures.bbox;
    const reach = $("method").value === "none" ? 0 : Number($("width").value);
    const corner = [Math.max(0, x - Math.ceil(reach)), Math.max(0, y - Math.ceil(reach))];
    return laidOver(this.cutout ?? "", $("background").value, $("colour").value, photo, $("frame").checked, corner);
  }

  /** @returns {import("./save.js").Thing[]} */
  everything() {
    const chosen = this.all[this.chosen];
    const named = `object ${this.things.length + 1}`;
    return chosen ? [...this.things, { ...chosen, name: named, colour: this.colour }] : this.things;
  }

  /** @param {string | undefined} kind */
  async take(kind) {
    const { file, image } = this.page.photo() ?? {};
    if (!kind || !file || !image) return;
    const name = file.name.replace(/\.\w+$/, "") || "cut-out";
    const size = { file: file.name, width: image.width, height: image.height };
    try {
      if (kind === "svg") save(new Blob([svgOf(this.everything(), image.width, image.height)], { type: "image/svg+xml" }), `${name}.svg`);
      else if (kind === "coco") save(new Blob([cocoOf(this.everything(), size)], { type: "application/json" }), `${name}.json`);
      else if (!this.cutout) this.page.say("Choose an object first.", true);
      else {
        const plain = $("background").value === "none" && kind === "png";
        const blob = plain ? await (await fetch(this.cutout)).blob() : await blobOf(await this.canvas(), kind === "webp" ? "image/webp" : "image/png");
        if (kind === "copy") {
          await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
          this.page.say("Copied");
        } else save(blob, `${name}-cut-out.${kind}`);
      }
    } catch {
      this.page.say("This browser does not allow that.", true);
    }
  }

  keep() {
    if (!this.all[this.chosen]) return;
    this.things = this.everything();
    this.cutout = undefined;
    $("result").removeAttribute("src");
    this.list();
    this.page.kept();
  }

  list() {
    $("objects").replaceChildren(...this.things.map((thing, index) => {
      const item = document.createElement("li");
      const dot = document.createElement("i");
      dot.style.background = thing.colour;
      const name = document.createElement("input");
      name.value = thing.name;
      name.setAttribute("aria-label", `Name of object ${index + 1}`);
      name.oninput = () => { thing.name = name.value; };
      const gone = document.createElement("button");
      gone.textContent = "Remove";
      gone.onclick = () => { this.things.splice(index, 1); this.list(); this.page.changed(); };
      item.append(dot, name, gone);
      return item;
    }));
  }
}

/** @param {HTMLCanvasElement} canvas @param {ImageBitmap} photo @param {Polygon[]} polygons @param {string} colour */
function thumbnail(canvas, photo, polygons, colour) {
  canvas.width = 176;
  canvas.height = 132;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const scale = Math.min(canvas.width / photo.width, canvas.height / photo.height);
  context.setTransform(scale, 0, 0, scale, (canvas.width - photo.width * scale) / 2, (canvas.height - photo.height * scale) / 2);
  context.globalAlpha = 0.3;
  context.drawImage(photo, 0, 0);
  const path = pathOf(polygons);
  context.globalAlpha = 1;
  context.save();
  context.clip(path, "evenodd");
  context.drawImage(photo, 0, 0);
  context.restore();
  context.strokeStyle = colour;
  context.lineWidth = 2 / scale;
  context.stroke(path);
}

/** @param {object} body */
function requests(body) {
  const here = new URL("api/run", document.baseURI).href;
  const json = JSON.stringify(body);
  return `curl -s ${here} -H 'Content-Type: application/json' \\\n  -d '${json}'\n\n`
    + `import httpx\nanswer = httpx.post("${here}", json=${json})\nprint(answer.json()["results"][0].keys())`;
}
