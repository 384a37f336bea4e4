// @ts-check
// The page: puts photo, prompt, stage and results together.

import { aim } from "./aiming.js";
import { Failure, access, ask, health, upload } from "./api.js";
import { Prompt } from "./prompt.js";
import { Results } from "./results.js";
import { Stage, pathOf } from "./stage.js";

const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const stage = new Stage($("view"));
const prompt = new Prompt();
/** @type {{file: File, image: {image_id: string, width: number, height: number} | null} | null} */
let photo = null;
let latest = new AbortController(); // of what was asked last: nothing older is wanted any more
/** @type {{place: number[] | null, busy: boolean, path: Path2D | null}} */
const hovered = { place: null, busy: false, path: null };
/** @type {() => void} */
let again = () => {};

const results = new Results({
  stage,
  say,
  changed: draw,
  fields: () => prompt.fields(photo?.image?.image_id ?? ""),
  photo: () => photo,
  kept() { prompt.restart(); results.show([]); draw(); },
});

/** @param {string} text @param {boolean} [error] @param {(() => void)} [retry] what "Try again" does */
function say(text, error = false, retry) {
  $("status").textContent = text;
  $("status").className = error ? "error" : "";
  $("again").hidden = !retry;
  if (retry) again = retry;
}

function draw() {
  const masks = results.outlines();
  if (hovered.path && prompt.empty) masks.push({ path: hovered.path, colour: "#39a0ff", tint: false });
  Object.assign(stage.scene, { masks, prompt: prompt.now });
  stage.draw();
  $("undo").disabled = !prompt.past.length;
  $("redo").disabled = !prompt.future.length;
  $("clear").disabled = prompt.empty;
}

/** Give up what was asked before, and do this. @param {(signal: AbortSignal) => Promise<void>} work */
async function instead(work) {
  latest.abort();
  const mine = (latest = new AbortController());
  try {
    await work(mine.signal);
  } catch (error) {
    if (mine === latest && !mine.signal.aborted) await explain(error, () => instead(work));
  }
}

/** @param {unknown} error @param {() => void} retry */
async function explain(error, retry) {
  $("progress").hidden = true;
  if (error instanceof Failure && error.status === 401) {
    $("locked").hidden = false;
    $("key").focus();
    again = retry;
    say(error.message, true);
  } else if (error instanceof Failure && error.status === 404 && photo?.image) {
    say("The photo has expired; it is uploaded again…");
    photo.image = null;
    await instead(send);
  } else if (error instanceof Failure) {
    const passing = error.status >= 500;
    say(error.message, true, passing ? retry : undefined);
  } else if (error instanceof TypeError) {
    say("The service does not answer.", true, retry);
  } else {
    say(error instanceof Error ? error.message : String(error), true);
  }
}

/** @param {File | null | undefined} file */
function open(file) {
  if (!file) return;
  photo = { file, image: null };
  const mine = photo;
  prompt.restart();
  results.restart();
  Object.assign(hovered, { place: null, path: null });
  stage.show(null);
  $("start").hidden = true;
  $("panel").hidden = true;
  draw();
  instead(async (signal) => {
    say(`${file.name || "photo"}: opening…`);
    const bitmap = createImageBitmap(file).then(
      (shown) => { if (photo === mine) stage.show(shown); else shown.close(); return shown; },
      () => null,
    );
    await Promise.all([send(signal), bitmap]);
    const shown = await bitmap;
    if (!shown) throw new Error("This browser can't show the photo; save it as JPEG or PNG.");
    const { width, height } = /** @type {any} */ (mine.image);
    if (shown.width !== width || shown.height !== height) {
      mine.image = null;
      throw new Error("This browser does not turn the photo as its EXIF orientation says; save it as JPEG.");
    }
  });
}

/** Upload the photo, and answer what was clicked meanwhile. @param {AbortSignal} signal */
async function send(signal) {
  const mine = /** @type {NonNullable<typeof photo>} */ (photo);
  $("progress").hidden = false;
  mine.image = await upload(mine.file, signal, (share) => {
    $("progress").value = share;
    say(share < 1 ? `Uploading: ${Math.round(100 * share)} %` : "Reading the photo…");
  }).finally(() => { $("progress").hidden = true; });
  say(`${mine.image.width} × ${mine.image.height}: click on what you want`);
  if (!prompt.empty) await answer(signal);
}

/** @param {AbortSignal} signal */
async function answer(signal) {
  if (!photo?.image) return; // it is kept, and answered when the photo has arrived
  if (prompt.empty) { results.show([]); say("Click on what you want"); return; }
  const started = performance.now();
  say("…");
  const body = { ...prompt.fields(photo.image.image_id), outputs: ["polygons", "rle", "measures"] };
  const answered = await ask("api/run", body, signal, (left) => say(`The service is full; trying again in ${left} s`));
  results.show(answered.results);
  say(`Answered in ${Math.round(performance.now() - started)} ms`);
}

/** @param {() => void} change */
function change(change) {
  change();
  Object.assign(hovered, { place: null, path: null });
  draw();
  if (photo?.image || !photo) instead(answer);
}

/** Show what a click here would give: one question at a time, the newest place wins. @param {number[] | null} place */
async function hover(place) {
  hovered.place = place;
  if (!place) { hovered.path = null; draw(); return; }
  if (hovered.busy || !$("hover").checked || !photo?.image || !prompt.empty) return;
  hovered.busy = true;
  try {
    while (hovered.place && photo?.image && prompt.empty) {
      const [x, y] = hovered.place;
      const body = { original_image_id: photo.image.image_id, points: [{ x, y }], labels: [1], outputs: ["polygons"], candidates: 1 };
      const { results: [best] } = await ask("api/run", body, AbortSignal.timeout(5000));
      if (!hovered.place || !prompt.empty) break;
      hovered.path = pathOf(best.polygons);
      draw();
      if (hovered.place[0] === x && hovered.place[1] === y) break;
    }
  } catch {
    // A preview that fails is none.
  } finally {
    hovered.busy = false;
  }
}

aim(stage, {
  ready: () => photo !== null,
  label: ({ altKey, button }) =>
    altKey || button === 2 || /** @type {HTMLInputElement} */ (document.querySelector("[name=mode]:checked")).value === "0" ? 0 : 1,
  point: ([x, y], label) => change(() => prompt.add({ x, y, label })),
  moved: (index, place) => change(() => prompt.replace(index, place && { ...prompt.now.points[index], x: place[0], y: place[1] })),
  box: (box) => change(() => prompt.surround(box)),
  hover,
});

$("undo").onclick = () => change(() => prompt.undo());
$("redo").onclick = () => change(() => prompt.redo());
$("clear").onclick = () => change(() => prompt.clear());
$("again").onclick = () => { $("again").hidden = true; again(); };
$("help").onclick = () => $("keys").showModal();
$("hover").onchange = () => hover(null);
$("file").onclick = () => { $("file").value = ""; }; // else the same photo could not be chosen again
$("file").onchange = () => open($("file").files[0]);
$("locked").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  access.key = $("key").value;
  $("locked").hidden = true;
  again();
};

addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.closest("input, select, textarea, dialog") && !["file", "hover"].includes(target.id)) return;
  if (event.ctrlKey || event.metaKey) return;
  const pressed = {
    z: () => $("undo").click(), y: () => $("redo").click(), Delete: () => $("clear").click(), "?": () => $("help").click(),
    "+": () => stage.zoom(1.25), "-": () => stage.zoom(0.8), 0: () => stage.fit(), n: () => $("keep").click(),
    1: () => results.choose(0), 2: () => results.choose(1), 3: () => results.choose(2),
    o: () => { stage.scene.alone = true; stage.draw(); },
  }[event.key];
  pressed?.();
});
addEventListener("keyup", (event) => { if (event.key === "o") { stage.scene.alone = false; stage.draw(); } });
addEventListener("paste", (event) => open(event.clipboardData?.files[0]));
addEventListener("dragover", (event) => { event.preventDefault(); $("stage").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("stage").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  open(event.dataTransfer?.files[0]);
});

for (const name of ["astronaut", "chelsea", "coffee"]) {
  const button = document.createElement("button");
  const picture = new Image();
  picture.src = `demo/examples/${name}.jpg`;
  picture.alt = name === "chelsea" ? "a cat" : name === "coffee" ? "a cup of coffee" : "an astronaut";
  button.append(picture);
  button.onclick = async () => open(new File([await (await fetch(picture.src)).blob()], `${name}.jpg`, { type: "image/jpeg" }));
  $("examples").append(button);
}

health().then((state) => {
  if (state?.model?.demonstration) {
    $("notice").hidden = false;
    $("notice").textContent = "This is the small model that ships with Imgr, to try the service. SAM cuts out far better: "
      + "uv run imgr download vit_b, then SAM_CHECKPOINT_PATH=models/sam_vit_b_01ec64.pth uv run --extra export imgr serve";
  }
  if (!state) say("The service does not answer.", true);
  else if (state.status !== "ok") say(state.detail, true);
  if (state?.model) document.title = `Imgr – ${state.model.variant}`;
});
draw();
