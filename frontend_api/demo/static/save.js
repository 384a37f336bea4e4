// @ts-check
// What a person takes home: pictures on a ground of their choice, outlines, COCO.

/** @typedef {import("./stage.js").Polygon} Polygon */
/** @typedef {{name: string, colour: string, polygons: Polygon[], rle: {size: number[], counts: string}, measures: {bbox: number[], area: number}}} Thing */

/** @param {Polygon[]} polygons */
const outlines = (polygons) =>
  polygons.flatMap(({ outer, holes }) => [outer, ...holes]).map((ring) => `M${ring.map((place) => place.join(" ")).join("L")}Z`).join("");

/** @param {Thing[]} things @param {number} width @param {number} height */
export function svgOf(things, width, height) {
  const paths = things.map(({ name, colour, polygons }) =>
    `<path fill="${colour}" fill-rule="evenodd" d="${outlines(polygons)}"><title>${escaped(name)}</title></path>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}">${paths.join("")}</svg>`;
}

/** @param {string} text */
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** @param {Thing[]} things @param {{file: string, width: number, height: number}} image */
export function cocoOf(things, { file, width, height }) {
  const names = [...new Set(things.map(({ name }) => name))];
  return JSON.stringify({
    images: [{ id: 1, file_name: file, width, height }],
    categories: names.map((name, index) => ({ id: index + 1, name })),
    annotations: things.map(({ name, rle, measures }, index) => ({
      id: index + 1, image_id: 1, category_id: names.indexOf(name) + 1, segmentation: rle, area: measures.area,
      bbox: measures.bbox, iscrowd: 0,
    })),
  }, null, 1);
}

/**
 * Lay a cut-out over a ground.
 * @param {string} address of the cut-out @param {string} kind none, colour or blur @param {string} colour
 * @param {ImageBitmap} photo @param {boolean} framed whether the cut-out has the size of the photo
 * @param {number[]} corner where else it lies in the photo
 * @returns {Promise<HTMLCanvasElement>}
 */
export async function laidOver(address, kind, colour, photo, framed, [x, y]) {
  const cutout = new Image();
  cutout.src = address;
  await cutout.decode();
  const canvas = document.createElement("canvas");
  canvas.width = cutout.naturalWidth;
  canvas.height = cutout.naturalHeight;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  if (kind === "colour") {
    context.fillStyle = colour;
    context.fillRect(0, 0, canvas.width, canvas.height);
  } else if (kind === "blur") {
    context.filter = `blur(${Math.max(6, canvas.width / 60)}px)`;
    context.drawImage(photo, framed ? 0 : -x, framed ? 0 : -y);
    context.filter = "none";
  }
  context.drawImage(cutout, 0, 0);
  return canvas;
}

/** @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {HTMLCanvasElement} canvas @param {string} type @returns {Promise<Blob>} */
export const blobOf = (canvas, type) =>
  new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), type, 0.9));
