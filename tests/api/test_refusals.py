"""What every malformed field of a click is answered: status and sentence, word for word."""

import json
from pathlib import Path

CASES = json.loads((Path(__file__).parent / "refusals.json").read_text())
PROMPT = {"points": [{"x": 150, "y": 100}], "labels": [1]}


def native(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def answer_to(client, kind, image_id, name, text):
    if kind == "json":
        body = json.dumps({"original_image_id": image_id} | PROMPT | {name: native(text)})
        return client.post("/api/run", content=body, headers={"content-type": "application/json"})
    prompt = {} if kind == "only" else {field: json.dumps(value) for field, value in PROMPT.items()}
    return client.post("/api/run", data={"original_image_id": image_id} | prompt | {name: text})


def test_every_malformed_field_gets_the_sentence_and_status_of_the_contract(client, upload):
    image_id = upload()
    different = []
    for kind, name, text, status, sentence in CASES:
        answer = answer_to(client, kind, image_id, name, text)
        detail = answer.json().get("detail", "").replace(image_id, "ID")
        if (answer.status_code, detail) != (status, sentence):
            different.append((kind, name, text, answer.status_code, detail))
    assert not different
