"""A person with a browser: the page that the service brings, and a frontend on another origin."""

import functools
import http.server
import threading

import pytest
import skimage.data

from tests.support.service import Service, free_port
from tests.support.service_client import image_bytes

pytestmark = pytest.mark.triton

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


class Delayed:
    """Holds back the first answer of a route until told."""

    def __init__(self, page, pattern):
        self._held = []
        page.route(pattern, lambda route: route.continue_() if self._held else self._held.append(route))
        self._page = page

    def let_go(self):
        with self._page.expect_response(self._held[0].request.url):
            self._held[0].continue_()


@pytest.fixture
def delayed(page):
    yield lambda pattern: Delayed(page, pattern)
    page.unroute_all()


def choose(page, name, pixels):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": image_bytes(pixels)})


def test_a_photo_whose_upload_was_overtaken_by_another_is_not_clicked(page, service, delayed):
    page.goto(service.url)
    slow = delayed("**/api/upload/image")
    choose(page, "slow.png", skimage.data.coffee())
    choose(page, "fast.png", skimage.data.coffee()[:200, :300])
    page.get_by_text("300 × 200: click on it").wait_for()
    slow.let_go()
    page.wait_for_timeout(100)
    assert page.evaluate("image.width") == 300
    assert page.get_by_text("300 × 200: click on it").is_visible()


@pytest.mark.parametrize("change", ["another photo", "no points"])
def test_an_answer_to_what_is_no_longer_wanted_is_not_shown(page, service, delayed, change):
    page.goto(service.url)
    choose(page, "coffee.png", skimage.data.coffee())
    page.get_by_text("600 × 400: click on it").wait_for()
    slow = delayed("**/api/run")
    page.click("#photo", position={"x": 200, "y": 150})
    page.locator(".point").wait_for()
    if change == "another photo":
        choose(page, "small.png", skimage.data.coffee()[:200, :300])
        page.get_by_text("300 × 200: click on it").wait_for()
    else:
        page.click("#clear")
    slow.let_go()
    page.wait_for_timeout(100)
    assert page.locator(".point").count() == 0
    assert page.locator("#results img").count() == 0
    assert page.locator("#status").text_content() in ("", "300 × 200: click on it")


def test_the_page_says_what_was_wrong_with_a_file(page, service):
    page.goto(service.url)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    page.get_by_text("no image that can be read").wait_for()


def test_the_documentation_of_the_api_comes_from_the_service_alone(page, service):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{service.url}/docs")
    page.get_by_text("/api/run", exact=True).wait_for()
    assert all(url.startswith((service.url, "data:")) for url in asked)


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
