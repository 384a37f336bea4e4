"""A person with a browser: the page that the service brings, and a frontend on another origin."""

import base64
import functools
import http.server
import io
import json
import re
import threading

import pytest
import skimage.data
from PIL import Image
from PIL.ExifTags import Base

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


class HeldBack:
    """Holds back the first request to a route."""

    def __init__(self, page, pattern):
        self._first = None
        self._page = page
        page.route(pattern, self._route)

    def _route(self, route):
        if self._first is None:
            self._first = route
        else:
            route.continue_()

    def gone(self):
        """Tell whether the page has given the request up."""
        return self._first.request.failure == "net::ERR_ABORTED"


@pytest.fixture
def held_back(page):
    yield lambda pattern: HeldBack(page, pattern)
    page.unroute_all()


def choose(page, name, pixels):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": image_bytes(pixels)})


def open_with_coffee(page, service):
    page.goto(service.url)
    choose(page, "coffee.png", skimage.data.coffee())
    page.get_by_text("600 × 400: click on it").wait_for()


def test_an_upload_that_another_overtakes_is_given_up(page, service, held_back):
    page.goto(service.url)
    slow = held_back("**/api/upload/image")
    choose(page, "slow.png", skimage.data.coffee())
    page.get_by_text("uploading…").wait_for()
    choose(page, "fast.png", skimage.data.coffee()[:200, :300])
    page.get_by_text("300 × 200: click on it").wait_for()
    assert slow.gone()
    assert page.evaluate("image.width") == 300


@pytest.mark.parametrize("change", ["another photo", "no points"])
def test_a_click_whose_answer_is_no_longer_wanted_is_given_up(page, service, held_back, change):
    open_with_coffee(page, service)
    slow = held_back("**/api/run")
    page.click("#photo", position={"x": 200, "y": 150})
    page.locator(".point").wait_for()
    if change == "another photo":
        choose(page, "small.png", skimage.data.coffee()[:200, :300])
        page.get_by_text("300 × 200: click on it").wait_for()
    else:
        page.click("#clear")
        page.wait_for_function("document.getElementById('status').textContent === ''")
    assert slow.gone()
    assert page.locator(".point").count() == 0
    assert page.locator("#results img").count() == 0


def test_a_click_that_fails_leaves_what_was_there_before(page, service):
    open_with_coffee(page, service)
    page.click("#photo", position={"x": 200, "y": 150})
    page.locator("#results img").nth(2).wait_for()
    page.route("**/api/run", lambda route: route.fulfill(status=503, json={"detail": "busy; try again shortly"}))
    page.click("#photo", position={"x": 20, "y": 20})
    page.get_by_text("busy; try again shortly").wait_for()
    page.unroute_all()
    page.route("**/api/run", lambda route: route.abort())
    page.click("#photo", position={"x": 20, "y": 20})
    page.get_by_text("the service does not answer").wait_for()
    page.unroute_all()
    assert page.locator(".point").count() == 1
    assert page.locator("#results img").count() == 3


def test_a_drag_asks_for_what_is_in_the_box_and_undo_takes_it_back(page, service):
    open_with_coffee(page, service)
    page.click("#photo", position={"x": 200, "y": 150})
    page.locator("#results img").nth(2).wait_for()
    photo = page.locator("#photo").bounding_box()
    page.mouse.move(photo["x"] + 300, photo["y"] + 200)
    page.mouse.down()
    page.mouse.move(photo["x"] + 100, photo["y"] + 50)
    with page.expect_response("**/api/run") as answer:
        page.mouse.up()
    assert answer.value.status == 200
    box = json.loads(re.search(r'name="box"\s+(.+)', answer.value.request.post_data)[1])
    assert box == pytest.approx([100, 50, 300, 200], abs=1)  # a mouse points at whole pixels of the page
    assert page.locator("#box").is_visible()
    with page.expect_response("**/api/run") as answer:
        page.click("#undo")
    assert '"box"' not in answer.value.request.post_data
    assert not page.locator("#box").is_visible()
    assert page.locator(".point").count() == 1


def test_the_chosen_candidate_is_shown_in_the_photo_and_can_be_saved(page, service):
    open_with_coffee(page, service)
    with page.expect_response("**/api/run") as answer:
        page.click("#photo", position={"x": 200, "y": 150})
    results = answer.value.json()["results"]
    assert page.locator("#mask").get_attribute("src") == results[0]["mask"]
    page.locator("#results button").nth(1).click()
    assert page.locator("#mask").get_attribute("src") == results[1]["mask"]
    with page.expect_download() as download:
        page.get_by_text("save").nth(1).click()
    assert base64.b64encode(download.value.path().read_bytes()).decode() in results[1]["masked_image"]


def test_the_page_asks_for_an_api_key_where_one_is_needed(page, service):
    def let_in(route):
        if route.request.headers["x-api-key"] == "secret":
            route.continue_()
        else:
            route.fulfill(status=401, json={"detail": "this service asks for an API key"})

    page.goto(service.url)
    page.route("**/api/**", let_in)
    choose(page, "coffee.png", skimage.data.coffee())
    page.get_by_text("asks for an API key").wait_for()
    page.get_by_label("API key").fill("secret")
    page.get_by_text("Use it").click()
    page.get_by_text("600 × 400: click on it").wait_for()
    page.click("#photo", position={"x": 200, "y": 150})
    page.locator("#results img").nth(2).wait_for()
    page.unroute_all()


def test_the_page_says_what_was_wrong_with_a_file(page, service):
    page.goto(service.url)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    page.get_by_text("no image that can be read").wait_for()


def turned_webp(pixels):
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WebP", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("encode", "problem"),
    [
        (lambda pixels: image_bytes(pixels, "TIFF"), "can't show the photo"),
        (turned_webp, "does not turn the photo"),
    ],
)
def test_a_photo_that_the_browser_shows_otherwise_than_the_service_reads_it_takes_no_clicks(
    page, service, encode, problem
):
    page.goto(service.url)
    page.set_input_files("#file", {"name": "a", "mimeType": "image/*", "buffer": encode(skimage.data.coffee())})
    page.get_by_text(problem).wait_for()
    page.locator("#photo").dispatch_event("click")
    assert page.locator(".point").count() == 0


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
