// @ts-check
// The service: what the page asks it, and what each failure means to a person.

/** Something went wrong that a person is told in words. */
export class Failure extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The key of a locked service; kept for this visit only. */
export const access = { key: "" };

const headers = () => (access.key ? { "X-API-Key": access.key } : {});

/** @param {number} seconds @param {AbortSignal} signal */
const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });

/**
 * Ask; where the service is full, wait as long as it says and ask again.
 * @param {string} path @param {object} body @param {AbortSignal} signal
 * @param {(seconds: number) => void} [waiting] told each second that is left; without it a full service is a failure
 * @returns {Promise<any>}
 */
export async function ask(path, body, signal, waiting) {
  for (;;) {
    const answer = await fetch(path, {
      method: "POST", body: JSON.stringify(body), signal, headers: { "Content-Type": "application/json", ...headers() },
    });
    if (answer.ok) return answer.json();
    if (answer.status !== 503 || !waiting) throw await failure(answer);
    for (let left = Number(answer.headers.get("Retry-After") ?? 2); left > 0; left--) {
      waiting(left);
      await pause(1, signal);
    }
  }
}

/** @param {Response} answer */
async function failure(answer) {
  const content = await answer.json().catch(() => ({}));
  return new Failure(content.detail ?? `the service answers ${answer.status} ${answer.statusText}`, answer.status);
}

/**
 * Upload with progress, which fetch does not tell.
 * @param {File} file @param {AbortSignal} signal @param {(share: number) => void} progress
 * @returns {Promise<{image_id: string, width: number, height: number}>}
 */
export function upload(file, signal, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "api/upload/image");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => reject(new TypeError("network"));
    request.onload = () => {
      if (request.status === 200) resolve(request.response);
      else reject(new Failure(request.response?.detail ?? `the service answers ${request.status}`, request.status));
    };
    signal.addEventListener("abort", () => { request.abort(); reject(signal.reason); }, { once: true });
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}

/** @returns {Promise<any>} the state of the service, null if it does not answer */
export const health = () => fetch("health").then((answer) => answer.json(), () => null);
