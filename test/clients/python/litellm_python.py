"""LiteLLM's proxy in front of Quartet, asked by OpenAI's and Anthropic's ways in."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from report import ALIAS, BACKBONE, EDGE, KEY, SEA, WEATHER, feature

folder = Path(tempfile.mkdtemp())


def entry(name, model):
    return {"model_name": name, "litellm_params": {"model": model, "api_base": f"{EDGE}/v1", "api_key": KEY}}


models = [entry(ALIAS, f"openai/{ALIAS}"), entry(BACKBONE, f"openai/{BACKBONE}")]
(folder / "config.yaml").write_text(json.dumps({"model_list": models}))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
base = f"http://127.0.0.1:{port}"
master = f"sk-{secrets.token_hex(32)}"
proxy = subprocess.Popen(
    [Path(sys.executable).parent / "litellm", "--config", folder / "config.yaml", "--port", str(port), "--host", "127.0.0.1"],
    stdout=(folder / "log").open("w"),
    stderr=subprocess.STDOUT,
    env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": master},
)


def post(path, body, raw=False):
    request = urllib.request.Request(
        f"{base}{path}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "authorization": f"Bearer {master}", "anthropic-version": "2023-06-01"},
    )
    try:
        text = urllib.request.urlopen(request, timeout=120).read().decode()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code} {error.read().decode()[:300]}") from None
    return text if raw else json.loads(text)


def wait():
    for _ in range(240):
        try:
            return urllib.request.urlopen(f"{base}/health/liveliness", timeout=2).read()
        except OSError:
            time.sleep(0.5)
    raise AssertionError((folder / "log").read_text()[-400:])


messages = [{"role": "user", "content": SEA}]
parameters = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Ulm"]}},
    "required": ["city"],
    "additionalProperties": False,
}

try:
    wait()

    @feature("chat")
    def _():
        answer = post("/v1/chat/completions", {"model": ALIAS, "messages": messages, "max_tokens": 16})
        assert answer["choices"][0]["message"]["content"]

    @feature("chat, streamed")
    def _():
        body = {"model": ALIAS, "messages": messages, "max_tokens": 16, "stream": True}
        text = post("/v1/chat/completions", body, raw=True)
        assert text.rstrip().endswith("data: [DONE]")

    @feature("structured output")
    def _():
        form = {"type": "json_schema", "json_schema": {"name": "city", "schema": parameters, "strict": True}}
        body = {"model": ALIAS, "messages": messages, "response_format": form}
        content = post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
        assert json.loads(content)["city"] in ("Paris", "Ulm")

    @feature("functions")
    def _():
        tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
        body = {
            "model": BACKBONE,
            "messages": [{"role": "user", "content": WEATHER}],
            "tools": [tool],
            "tool_choice": "required",
            "max_tokens": 60,
        }
        assert post("/v1/chat/completions", body)["choices"][0]["message"]["tool_calls"]

    @feature("responses")
    def _():
        answer = post("/v1/responses", {"model": ALIAS, "input": SEA, "max_output_tokens": 16})
        assert answer["output"][0]["content"][0]["text"]

    @feature("messages")
    def _():
        answer = post("/v1/messages", {"model": ALIAS, "messages": messages, "max_tokens": 16})
        assert answer["content"][0]["text"]

    @feature("embeddings")
    def _():
        assert len(post("/v1/embeddings", {"model": ALIAS, "input": ["a", "b"]})["data"]) == 2
finally:
    proxy.terminate()
    proxy.wait()
