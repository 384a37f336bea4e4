"""A person with a browser: the page that the service brings, and a frontend on another origin."""

import functools
import http.server
import os
import shutil
import threading

import pytest
import skimage.data
from playwright.sync_api import sync_playwright

from tests.support.service import Service, free_port
from tests.support.service_client import image_bytes

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no Chromium on the PATH"),
]

FRONTEND = """<!doctype html><script>
  async function post(url, fields) {
    const body = new FormData();
    for (const name in fields) body.append(name, fields[name]);
    const answer = await fetch(url, { method: "POST", body });
    return [answer.status, await answer.json()];
  }
  async function click(api, file) {
    const [, image] = await post(api + "/api/upload/image", { file, image_type: "original" });
    const run = (points) => post(api + "/api/run", { original_image_id: image.image_id, points, labels: "[1]" });
    const [status, answer] = await run(JSON.stringify([{ x: 100, y: 100 }]));
    const [refused, error] = await run("[");
    return { status, candidates: answer.results.length, refused, detail: error.detail };
  }
</script>"""


@pytest.fixture(scope="module")
def frontend(tmp_path_factory):
    """A frontend's own web server; yields its origin."""
    folder = tmp_path_factory.mktemp("frontend")
    (folder / "index.html").write_text(FRONTEND)
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def service(small_repository, frontend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    service = Service(small_repository, folder / "store", folder / "log", cors_origins=frontend)
    yield service.wait_until_ready()
    service.stop()


@pytest.fixture(scope="module")
def page():
    arguments = ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, chromium_sandbox=os.geteuid() != 0
        )
        yield browser.new_page()
        browser.close()


def test_a_click_on_the_page_shows_three_cut_outs(page, service):
    page.goto(service.url)
    photo = {"name": "coffee.png", "mimeType": "image/png", "buffer": image_bytes(skimage.data.coffee())}
    page.set_input_files("#file", photo)
    page.get_by_text("600 × 400: click on it").wait_for()
    page.click("#photo", position={"x": 200, "y": 150})
    page.locator("#results img").nth(2).wait_for()
    sizes = page.eval_on_selector_all(
        "#results img", "all => Promise.all(all.map(one => one.decode().then(() => one.naturalWidth)))"
    )
    assert len(sizes) == 3
    assert all(size > 0 for size in sizes)
    assert page.locator(".point").count() == 1
    page.click("#photo", position={"x": 20, "y": 20}, modifiers=["Shift"])
    page.locator('.point[data-label="0"]').wait_for()


def test_the_page_says_what_was_wrong_with_a_file(page, service):
    page.goto(service.url)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    page.get_by_text("no image that can be read").wait_for()


def test_a_frontend_on_an_allowed_origin_clicks_and_reads_errors(page, service, frontend):
    page.goto(f"{frontend}/index.html")
    page.evaluate(
        "data => { window.file = new Blob([new Uint8Array(data)]); }", list(image_bytes(skimage.data.coffee()))
    )
    outcome = page.evaluate("api => click(api, window.file)", service.url)
    assert outcome["status"] == 200
    assert outcome["candidates"] == 3
    assert outcome["refused"] == 400
    assert "points is not JSON" in outcome["detail"]


def test_a_frontend_on_another_origin_is_kept_out_by_the_browser(page, service, frontend):
    page.goto(frontend.replace("127.0.0.1", "localhost") + "/index.html")
    refused = page.evaluate("api => fetch(api + '/health').then(() => false, () => true)", service.url)
    assert refused
