// @ts-check
// The photo, zoomed and moved, with outlines, points and the crosshair drawn over it.

/** @typedef {{outer: number[][], holes: number[][][]}} Polygon */

const POINT = 7;

/** @param {Polygon[]} polygons */
export function pathOf(polygons) {
  const path = new Path2D();
  for (const { outer, holes } of polygons) {
    for (const ring of [outer, ...holes]) {
      ring.forEach(([x, y], index) => (index ? path.lineTo(x, y) : path.moveTo(x, y)));
      path.closePath();
    }
  }
  return path;
}

export class Stage {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    /** @type {ImageBitmap | null} */
    this.photo = null;
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    this.fitted = true;
    /** What is drawn over the photo; set by the page. */
    this.scene = {
      /** @type {{path: Path2D, colour: string, tint: boolean}[]} */ masks: [],
      /** @type {import("./prompt.js").Pointed} */ prompt: { points: [], box: null },
      /** @type {number[] | null} */ crosshair: null,
      alone: false,
    };
    this.waiting = false;
    new ResizeObserver(() => this.resized()).observe(canvas);
  }

  /** @param {ImageBitmap | null} photo */
  show(photo) {
    this.photo?.close();
    this.photo = photo;
    this.fit();
  }

  resized() {
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.fitted) this.fit();
    else this.draw();
  }

  fit() {
    if (this.photo) {
      const { width, height } = this.photo;
      const { clientWidth, clientHeight } = this.canvas;
      this.scale = Math.min(clientWidth / width, clientHeight / height);
      this.left = (clientWidth - width * this.scale) / 2;
      this.top = (clientHeight - height * this.scale) / 2;
    }
    this.fitted = true;
    this.draw();
  }

  /** @param {number} factor @param {number} [x] @param {number} [y] where it stays, in pixels of the canvas */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(32, Math.max(0.02, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.draw();
  }

  /** @param {number} dx @param {number} dy */
  move(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.fitted = false;
    this.draw();
  }

  /** @param {{offsetX: number, offsetY: number}} event @returns {number[]} pixels of the photo, inside it */
  place({ offsetX, offsetY }) {
    const { width = 0, height = 0 } = this.photo ?? {};
    const within = (/** @type {number} */ value, /** @type {number} */ size) => Math.min(size, Math.max(0, value));
    return [within((offsetX - this.left) / this.scale, width), within((offsetY - this.top) / this.scale, height)];
  }

  /** @param {{offsetX: number, offsetY: number}} event @returns {number} index of the point there, or -1 */
  pointAt({ offsetX, offsetY }) {
    return this.scene.prompt.points.findIndex(
      ({ x, y }) => Math.hypot(x * this.scale + this.left - offsetX, y * this.scale + this.top - offsetY) < POINT + 4,
    );
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const { context, scene, photo, scale } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!photo) return;
    const ratio = devicePixelRatio;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * this.left, ratio * this.top);
    context.imageSmoothingEnabled = scale < 2; // pixel-exact when zoomed in
    context.drawImage(photo, 0, 0);
    if (scene.alone) return;
    for (const { path, colour, tint } of scene.masks) {
      context.fillStyle = colour;
      context.globalAlpha = tint ? 0.35 : 0.18;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
      for (const [style, width] of /** @type {const} */ ([["#fff", 3], [colour, 1.5]])) {
        context.strokeStyle = style;
        context.lineWidth = width / scale;
        context.stroke(path);
      }
    }
    this.paintPrompt(context, scale);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} scale */
  paintPrompt(context, scale) {
    const { prompt: { points, box }, crosshair } = this.scene;
    if (box) {
      context.setLineDash([6 / scale, 4 / scale]);
      context.strokeStyle = "#fff";
      context.lineWidth = 2 / scale;
      context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
      context.setLineDash([]);
    }
    for (const { x, y, label } of points) {
      context.beginPath();
      context.arc(x, y, POINT / scale, 0, 2 * Math.PI);
      context.fillStyle = label ? "#137a3a" : "#c22020";
      context.fill();
      context.strokeStyle = "#fff";
      context.lineWidth = 2 / scale;
      context.stroke();
      context.beginPath();
      context.moveTo(x - 3.5 / scale, y);
      context.lineTo(x + 3.5 / scale, y);
      if (label) {
        context.moveTo(x, y - 3.5 / scale);
        context.lineTo(x, y + 3.5 / scale);
      }
      context.stroke();
    }
    if (crosshair) {
      context.strokeStyle = "#fff";
      context.lineWidth = 1.5 / scale;
      context.beginPath();
      for (const [dx, dy] of [[14, 0], [0, 14]]) {
        context.moveTo(crosshair[0] - dx / scale, crosshair[1] - dy / scale);
        context.lineTo(crosshair[0] + dx / scale, crosshair[1] + dy / scale);
      }
      context.stroke();
    }
  }
}
