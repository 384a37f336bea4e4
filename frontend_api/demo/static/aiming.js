// @ts-check
// Mouse, pen, fingers and keys on the photo.

/**
 * @param {import("./stage.js").Stage} stage
 * @param {{ready: () => boolean, label: (event: {altKey: boolean, button?: number}) => 0 | 1,
 *   point: (place: number[], label: 0 | 1) => void, moved: (index: number, place: number[] | null) => void,
 *   box: (box: number[]) => void, hover: (place: number[] | null) => void}} told
 */
export function aim(stage, told) {
  const { canvas } = stage;
  /** @type {Map<number, PointerEvent>} */
  const fingers = new Map();
  /** @type {PointerEvent | null} */
  let start = null;
  let grabbed = -1;
  let panning = false;

  const far = (/** @type {PointerEvent} */ event) =>
    start !== null && Math.hypot(event.offsetX - start.offsetX, event.offsetY - start.offsetY) > 5;

  function boxTo(/** @type {PointerEvent} */ event) {
    const [[x0, y0], [x1, y1]] = [stage.place(/** @type {PointerEvent} */ (start)), stage.place(event)];
    return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!stage.photo) return;
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    start = fingers.size === 1 ? event : null; // two fingers zoom
    grabbed = stage.pointAt(event);
    told.hover(null);
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse" && stage.photo) told.hover(stage.place(event));
      return;
    }
    fingers.set(event.pointerId, event);
    if (fingers.size === 2) {
      const [one, other] = [...fingers.values()];
      const apart = Math.hypot(one.offsetX - other.offsetX, one.offsetY - other.offsetY);
      const still = one.pointerId === event.pointerId ? other : one;
      const was = Math.hypot(before.offsetX - still.offsetX, before.offsetY - still.offsetY);
      stage.zoom(apart / was, (one.offsetX + other.offsetX) / 2, (one.offsetY + other.offsetY) / 2);
      stage.move((event.offsetX - before.offsetX) / 2, (event.offsetY - before.offsetY) / 2);
    } else if (panning || before.buttons === 4) {
      stage.move(event.offsetX - before.offsetX, event.offsetY - before.offsetY);
    } else if (start && far(event) && told.ready()) {
      const { points } = stage.scene.prompt;
      stage.scene.prompt = grabbed < 0
        ? { points, box: boxTo(event) }
        : { ...stage.scene.prompt, points: points.map((point, index) => (index === grabbed ? { ...point, x: stage.place(event)[0], y: stage.place(event)[1] } : point)) };
      stage.draw();
    }
  });

  canvas.addEventListener("pointerup", (event) => {
    const began = start;
    fingers.delete(event.pointerId);
    if (!began || panning || began.button === 1) { start = null; return; }
    if (grabbed >= 0) { if (far(event)) told.moved(grabbed, stage.place(event)); }
    else if (far(event)) { if (event.pointerType !== "touch") told.box(boxTo(event)); }
    else told.point(stage.place(event), told.label(began));
    start = null;
  });
  canvas.addEventListener("pointercancel", (event) => { fingers.delete(event.pointerId); start = null; });
  canvas.addEventListener("pointerleave", () => told.hover(null));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", (event) => {
    const index = stage.pointAt(event);
    if (index >= 0) told.moved(index, null);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    stage.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });

  canvas.addEventListener("keydown", (event) => {
    if (!stage.photo) return;
    const step = (event.shiftKey ? 1 : 12) / stage.scale;
    const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [0, 0];
    const { width, height } = stage.photo;
    const [x, y] = stage.scene.crosshair ?? [width / 2, height / 2];
    if (dx || dy) {
      stage.scene.crosshair = [Math.min(width, Math.max(0, x + dx)), Math.min(height, Math.max(0, y + dy))];
      stage.draw();
      event.preventDefault();
    } else if (event.key === "Enter") {
      told.point([x, y], event.shiftKey ? 0 : told.label(event));
      event.preventDefault();
    }
  });
  addEventListener("keydown", (event) => { if (event.code === "Space" && event.target === canvas) { panning = true; event.preventDefault(); } });
  addEventListener("keyup", (event) => { if (event.code === "Space") panning = false; });
}
