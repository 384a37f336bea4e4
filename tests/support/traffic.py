"""Clients that click without pause, and what they were told."""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

import httpx
import numpy as np

from tests.support.reference import iou
from tests.support.service_client import click_fields, png_pixels


@dataclass(frozen=True)
class Answer:
    """One answered click; `mask` is the best one's and None unless the status is 200."""

    status: int
    image_id: str
    scores: tuple
    mask: np.ndarray | None
    detail: str


class Clients:
    """Threads that run while the context is open, each until `stopping` is set."""

    def __init__(self, targets):
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=target) for target in targets]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self._threads:
            thread.join()


class Traffic(Clients):
    """Clients clicking the same prompt on some images, without pause."""

    def __init__(self, url, image_ids, prompt, clients=8):
        super().__init__(partial(self._click, image_ids[n % len(image_ids)]) for n in range(clients))
        self.answers = []
        self._url = url
        self._prompt = prompt

    def _click(self, image_id):
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self.stopping.is_set():
                answer = http.post("/api/run", data=click_fields(image_id, **self._prompt, feather_method="none"))
                if answer.status_code == 200:
                    results = answer.json()["results"]
                    mask = png_pixels(results[0]["mask"]) > 127
                    self.answers.append(Answer(200, image_id, tuple(r["score"] for r in results), mask, ""))
                else:
                    self.answers.append(Answer(answer.status_code, image_id, (), None, answer.text))

    def wait_for(self, more=16, seconds=60):
        """Wait until so many more answers came."""
        target, deadline = len(self.answers) + more, time.monotonic() + seconds
        while len(self.answers) < target:
            assert time.monotonic() < deadline, "the clicks have stopped"
            time.sleep(0.02)

    def assert_all_right(self, *known):
        """Every answer is 200, and as in one of `known`: by image id the masks and scores of one checkpoint."""
        assert not Counter((answer.status, answer.detail) for answer in self.answers if answer.status != 200)
        for answer in self.answers:
            assert any(
                np.allclose(answer.scores, answers[answer.image_id][1], atol=1e-3)
                and iou(answer.mask, answers[answer.image_id][0][0]) > 0.99
                for answers in known
            ), "a mask that belongs to none of the checkpoints"
