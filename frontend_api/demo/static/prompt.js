// @ts-check
// What a person points at, with undo and redo.

/** @typedef {{x: number, y: number, label: 0 | 1}} Point */
/** @typedef {{points: Point[], box: number[] | null}} Pointed */

/** @type {Pointed} */
const NOTHING = { points: [], box: null };

export class Prompt {
  constructor() {
    this.restart();
  }

  restart() {
    /** @type {Pointed[]} */
    this.past = [];
    /** @type {Pointed[]} */
    this.future = [];
    /** @type {Pointed} */
    this.now = NOTHING;
  }

  get empty() {
    return !this.now.points.length && !this.now.box;
  }

  /** @param {Pointed} next */
  become(next) {
    this.past.push(this.now);
    this.future = [];
    this.now = next;
  }

  /** @param {Point} point */
  add(point) {
    this.become({ ...this.now, points: [...this.now.points, point] });
  }

  /** @param {number} index @param {Point | null} point */
  replace(index, point) {
    const points = this.now.points.flatMap((old, number) => (number !== index ? [old] : point ? [point] : []));
    this.become({ ...this.now, points });
  }

  /** @param {number[]} box */
  surround(box) {
    this.become({ ...this.now, box });
  }

  clear() {
    if (!this.empty) this.become(NOTHING);
  }

  undo() {
    const before = this.past.pop();
    if (before) { this.future.push(this.now); this.now = before; }
  }

  redo() {
    const after = this.future.pop();
    if (after) { this.past.push(this.now); this.now = after; }
  }

  /** @param {string} imageId */
  fields(imageId) {
    const { points, box } = this.now;
    return {
      original_image_id: imageId,
      points: points.map(({ x, y }) => ({ x, y })),
      labels: points.map(({ label }) => label),
      ...(box && { box }),
    };
  }
}
