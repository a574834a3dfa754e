"""The `llm` command, as a person uses it: its models are told of in a file of its own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from report import ALIAS, BACKBONE, EDGE, KEY, SEA, feature

home = Path(tempfile.mkdtemp())
(home / "extra-openai-models.yaml").write_text(
    "\n".join(
        f"""- model_id: {model}
  model_name: {model}
  api_base: {EDGE}/v1
  api_key_name: quartet
  supports_schema: true
  supports_tools: true"""
        for model in (ALIAS, BACKBONE)
    )
)
(home / "keys.json").write_text(json.dumps({"quartet": KEY}))


def llm(*words):
    run = subprocess.run(
        [Path(sys.executable).parent / "llm", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "LLM_USER_PATH": str(home)},
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stderr[-400:]
    return run.stdout


@feature("prompt")
def _():
    assert llm("prompt", "-m", ALIAS, "-o", "max_tokens", "16", SEA, "--no-stream").strip()


@feature("prompt, streamed, and continued")
def _():
    assert llm("prompt", "-m", ALIAS, "-o", "max_tokens", "16", SEA).strip()
    assert llm("prompt", "-c", "-o", "max_tokens", "16", "And then?").strip()


@feature("--schema")
def _():
    schema = {
        "type": "object",
        "properties": {"mood": {"type": "string", "enum": ["calm", "wild"]}},
        "required": ["mood"],
        "additionalProperties": False,
    }
    answer = json.loads(llm("prompt", "-m", ALIAS, "--schema", json.dumps(schema), SEA, "--no-stream"))
    assert answer["mood"] in ("calm", "wild")


@feature("--functions")
def _():
    code = 'def look(city: str) -> str:\n    "The weather of a city."\n    return "21 degrees"\n'
    llm("prompt", "-m", BACKBONE, "--functions", code, "-o", "max_tokens", "40", "Weather in Ulm?", "--no-stream")
