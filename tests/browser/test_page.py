"""A person with a browser: the page that the service brings, and a frontend on another origin."""

import functools
import http.server
import io
import json
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


COFFEE = skimage.data.coffee()  # 600 × 400


def choose(page, name, pixels):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": image_bytes(pixels)})


def says(page, text):
    page.locator("#status", has_text=text).wait_for()


def open_with_coffee(page, service):
    page.goto(service.url)
    choose(page, "coffee.png", COFFEE)
    says(page, "600 × 400: click on what you want")


def at(page, x, y):
    """Where a pixel of the coffee lies on the page."""
    stage = page.locator("#view").bounding_box()
    scale = min(stage["width"] / 600, stage["height"] / 400)
    left, top = (stage["width"] - 600 * scale) / 2, (stage["height"] - 400 * scale) / 2
    return stage["x"] + left + x * scale, stage["y"] + top + y * scale


def asked(response):
    return json.loads(response.request.post_data)


def is_a_click(response):
    return response.url.endswith("/api/run") and "rle" in asked(response).get("outputs", [])


def click(page, x, y, **options):
    """Click on a pixel of the coffee and return what the page asked for it."""
    with page.expect_response(is_a_click) as answer:
        page.mouse.click(*at(page, x, y), **options)
    says(page, "Answered in")
    return asked(answer.value)


def test_a_click_shows_candidates_and_the_cut_out_of_the_best(page, service):
    open_with_coffee(page, service)
    request = click(page, 300, 200)
    assert request["labels"] == [1]
    assert (request["points"][0]["x"], request["points"][0]["y"]) == pytest.approx((300, 200), abs=2)
    assert 1 <= page.locator("#candidates button").count() <= 3
    assert page.locator("#candidates button[aria-checked=true]").count() == 1
    page.wait_for_function("() => document.getElementById('result').naturalWidth > 0")
    assert "% sure" in page.locator("#candidates button").first.inner_text()
    assert "curl -s" in page.locator("#request").text_content()


def test_an_example_is_opened_by_one_click_and_credited(page, service):
    page.goto(service.url)
    assert "CC0" in page.locator("#start").inner_text()
    page.get_by_alt_text("a cat").click()
    says(page, "451 × 300: click on what you want")


def test_a_click_made_before_the_photo_has_arrived_is_answered_when_it_has(page, service):
    held = []
    page.goto(service.url)
    page.route("**/api/upload/image", lambda route: held.append(route))  # noqa: PLW0108 - Playwright asks it for its name
    choose(page, "coffee.png", COFFEE)
    page.wait_for_function("() => document.getElementById('start').hidden")
    page.wait_for_timeout(300)  # the photo is shown at once
    page.mouse.click(*at(page, 300, 200))
    with page.expect_response(is_a_click):
        held[0].continue_()
    says(page, "Answered in")
    page.unroute_all()


def test_alt_or_the_right_button_or_the_switch_take_away(page, service):
    open_with_coffee(page, service)
    click(page, 300, 200)
    page.keyboard.down("Alt")
    assert click(page, 20, 20)["labels"] == [1, 0]
    page.keyboard.up("Alt")
    assert click(page, 560, 20, button="right")["labels"] == [1, 0, 0]
    page.get_by_label("Remove", exact=True).check()
    assert click(page, 20, 380)["labels"] == [1, 0, 0, 0]


def test_a_drag_asks_for_a_box_and_undo_and_redo_follow(page, service):
    open_with_coffee(page, service)
    click(page, 300, 200)
    page.mouse.move(*at(page, 400, 300))
    page.mouse.down()
    page.mouse.move(*at(page, 100, 50))
    with page.expect_response(is_a_click) as answer:
        page.mouse.up()
    assert asked(answer.value)["box"] == pytest.approx([100, 50, 400, 300], abs=2)
    with page.expect_response(is_a_click) as answer:
        page.click("#undo")
    assert "box" not in asked(answer.value)
    with page.expect_response(is_a_click) as answer:
        page.keyboard.press("y")
    assert "box" in asked(answer.value)


def test_a_point_can_be_dragged_and_deleted(page, service):
    open_with_coffee(page, service)
    click(page, 300, 200)
    click(page, 200, 150)
    page.mouse.move(*at(page, 200, 150))
    page.mouse.down()
    page.mouse.move(*at(page, 250, 180))
    with page.expect_response(is_a_click) as answer:
        page.mouse.up()
    moved = asked(answer.value)["points"][1]
    assert (moved["x"], moved["y"]) == pytest.approx((250, 180), abs=2)
    with page.expect_response(is_a_click) as answer:
        page.mouse.dblclick(*at(page, 250, 180))
    assert len(asked(answer.value)["points"]) == 1


def test_the_keyboard_alone_sets_points_chooses_and_clears(page, service):
    open_with_coffee(page, service)
    page.focus("#view")
    page.keyboard.press("ArrowRight")
    with page.expect_response(is_a_click) as answer:
        page.keyboard.press("Enter")
    assert asked(answer.value)["points"][0]["x"] > 300
    says(page, "Answered in")
    page.keyboard.press("2")
    assert page.locator("#candidates button").nth(1).get_attribute("aria-checked") == "true"
    page.keyboard.press("Delete")
    says(page, "Click on what you want")
    assert page.locator("#candidates button").count() == 0
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_a_mouse_that_moves_asks_one_preview_at_a_time(page, service):
    open_with_coffee(page, service)
    with page.expect_response("**/api/run") as answer:
        page.mouse.move(*at(page, 300, 200))
    assert asked(answer.value) | {"points": 0, "original_image_id": 0} == {
        "original_image_id": 0,
        "points": 0,
        "labels": [1],
        "outputs": ["polygons"],
        "candidates": 1,
    }
    page.get_by_label("Preview").uncheck()


@pytest.mark.parametrize(
    ("kind", "name", "begins"),
    [
        ("PNG", "coffee-cut-out.png", b"\x89PNG"),
        ("WebP", "coffee-cut-out.webp", b"RIFF"),
        ("SVG", "coffee.svg", b"<svg"),
        ("COCO", "coffee.json", b"{"),
    ],
)
def test_the_cut_out_can_be_saved_in_every_form(page, service, kind, name, begins):
    open_with_coffee(page, service)
    click(page, 300, 200)
    page.wait_for_function("() => document.getElementById('result').naturalWidth > 0")
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    assert download.value.suggested_filename == name
    assert download.value.path().read_bytes().startswith(begins)


def test_edge_and_frame_are_asked_for_and_a_ground_is_laid_below(page, service):
    open_with_coffee(page, service)
    click(page, 300, 200)
    with page.expect_response(
        lambda r: "crop" in (r.request.post_data or "") and asked(r)["crop"] == "frame"
    ) as answer:
        page.get_by_label("keep the frame").check()
    assert answer.value.status == 200
    page.wait_for_function("() => document.getElementById('result').naturalWidth === 600")
    page.select_option("#background", "blur")
    page.wait_for_function("() => document.getElementById('result').src.startsWith('data:image/png')")


def test_several_objects_are_kept_named_and_saved_together(page, service):
    open_with_coffee(page, service)
    click(page, 300, 200)
    page.click("#keep")
    page.get_by_label("Name of object 1").fill("cup")
    click(page, 100, 100)
    with page.expect_download() as download:
        page.get_by_role("button", name="COCO").click()
    saved = json.loads(download.value.path().read_text())
    assert [category["name"] for category in saved["categories"]] == ["cup", "object 2"]
    assert all(annotation["segmentation"]["size"] == [400, 600] for annotation in saved["annotations"])


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


def test_an_upload_that_another_overtakes_is_given_up(page, service, held_back):
    page.goto(service.url)
    slow = held_back("**/api/upload/image")
    choose(page, "slow.png", COFFEE)
    page.wait_for_function("() => document.getElementById('start').hidden")
    page.wait_for_timeout(100)
    choose(page, "fast.png", COFFEE[:200, :300])
    says(page, "300 × 200: click on what you want")
    assert slow.gone()


def test_a_full_service_is_waited_for_and_the_click_is_not_lost(page, service):
    open_with_coffee(page, service)
    page.get_by_label("Preview").uncheck()
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"detail": "64 clicks are in progress already"}}
    page.route("**/api/run", lambda route: route.fulfill(**busy), times=1)
    page.mouse.click(*at(page, 300, 200))
    says(page, "The service is full; trying again in 1 s")
    says(page, "Answered in")
    page.unroute_all()


def test_a_lost_connection_is_told_and_tried_again(page, service):
    open_with_coffee(page, service)
    page.get_by_label("Preview").uncheck()
    page.route("**/api/run", lambda route: route.abort())
    page.mouse.click(*at(page, 300, 200))
    says(page, "The service does not answer.")
    page.unroute_all()
    page.click("#again")
    says(page, "Answered in")


def test_an_expired_photo_is_uploaded_again_by_itself(page, service):
    open_with_coffee(page, service)
    page.get_by_label("Preview").uncheck()
    with page.expect_response("**/api/upload/image"):
        page.route("**/api/run", lambda route: route.fulfill(status=404, json={"detail": "no image"}), times=1)
        page.mouse.click(*at(page, 300, 200))
    says(page, "Answered in")
    page.unroute_all()


def test_the_page_asks_for_an_api_key_where_one_is_needed(page, service):
    def let_in(route):
        if route.request.headers.get("x-api-key") == "secret":
            route.continue_()
        else:
            route.fulfill(status=401, json={"detail": "this service asks for an API key"})

    page.goto(service.url)
    page.route("**/api/**", let_in)
    choose(page, "coffee.png", COFFEE)
    says(page, "asks for an API key")
    page.get_by_label("API key").fill("secret")
    page.get_by_text("Use it").click()
    says(page, "600 × 400: click on what you want")
    click(page, 300, 200)
    page.unroute_all()


def test_the_page_says_what_was_wrong_with_a_file_and_takes_another(page, service):
    page.goto(service.url)
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no image"})
    says(page, "no image that can be read")
    choose(page, "coffee.png", COFFEE)
    says(page, "600 × 400: click on what you want")


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
    ids=["tiff", "turned webp"],
)
def test_a_photo_that_the_browser_shows_otherwise_than_the_service_reads_it_takes_no_clicks(
    page, service, encode, problem
):
    page.goto(service.url)
    page.set_input_files("#file", {"name": "a", "mimeType": "image/*", "buffer": encode(COFFEE)})
    says(page, problem)
    page.mouse.click(*at(page, 300, 200))
    assert page.locator("#candidates button").count() == 0


def test_nothing_on_the_page_is_refused_by_its_own_policy_or_comes_from_elsewhere(page, service):
    complaints, addresses = [], []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: addresses.append(request.url))
    answer = page.goto(service.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    page.get_by_alt_text("a cat").click()
    says(page, "click on what you want")
    assert complaints == []
    assert all(url.startswith((service.url, "data:", "blob:")) for url in addresses)


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
