"""lm-evaluation-harness, unchanged, on the demo's support tickets; its choices beside those of `quartet adapter eval`."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from report import BACKBONE, EDGE, KEY, feature

ROOT = Path(os.environ["QUARTET_ROOT"])
DATA = ROOT / "demo/tickets.heldout.jsonl"
ADAPTER = ROOT / "demo/tickets.safetensors"
LABELS = ["billing", "shipping", "returns", "technical", "account"]
folder = Path(tempfile.mkdtemp())

# The prompt as the chat template writes it, so that both read the same tokens.
PROMPT = "<|im_start|>user\\n{{prompt}}<|im_end|>\\n<|im_start|>assistant\\n"


def task(name, more):
    text = f"""task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {DATA}
test_split: test
target_delimiter: ""
{more}
"""
    (folder / f"{name}.yaml").write_text(text)


task(
    "tickets_choice",
    f"""output_type: multiple_choice
doc_to_text: "{PROMPT}"
doc_to_choice: {json.dumps([f"{label}<|im_end|>" for label in LABELS])}
doc_to_target: "{{{{{json.dumps(LABELS).replace('"', "'")}.index(completion)}}}}"
metric_list:
  - metric: acc""",
)
task(
    "tickets_answer",
    f"""output_type: generate_until
doc_to_text: "{PROMPT}"
doc_to_target: "{{{{completion}}}}"
generation_kwargs:
  until: ["<|im_end|>"]
  max_gen_toks: 12
  temperature: 0
metric_list:
  - metric: exact_match""",
)
task(
    "tickets_chat",
    """output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{completion}}"
generation_kwargs:
  max_gen_toks: 12
  temperature: 0
metric_list:
  - metric: exact_match""",
)


def harness(model, path, name, *, chat=False, limit=None):
    out = folder / name
    command = [
        *[sys.executable, "-m", "lm_eval", "--model", model, "--tasks", name, "--include_path", folder],
        *["--model_args", f"model={BACKBONE},base_url={EDGE}/v1{path},num_concurrent=4,max_retries=1,auth_token={KEY}"],
        *["--log_samples", "--output_path", out],
        *(["--apply_chat_template"] if chat else []),
        *(["--limit", str(limit)] if limit else []),
    ]
    run = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENAI_API_KEY": KEY},
    )
    assert run.returncode == 0, run.stderr[-400:]
    [samples] = out.glob("**/samples_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    return sorted(lines, key=lambda line: line["doc_id"])


EXAMPLES = 50


@feature("local-completions, loglikelihood: the choices of `quartet adapter eval`")
def _():
    samples = harness("local-completions", "/completions", "tickets_choice", limit=EXAMPLES)
    chosen = []
    for sample in samples:
        likelihoods = [float(response[0][0]) for response in sample["resps"]]
        chosen.append(LABELS[likelihoods.index(max(likelihoods))])
    labels = folder / "labels.jsonl"
    subprocess.run(
        [
            *["node", ROOT / "cli/main.ts", "adapter", "eval", ADAPTER, "--data", DATA],
            *["--choices", ",".join(LABELS), "--metrics", "label-accuracy", "--labels", labels],
            *["--limit", str(EXAMPLES)],
        ],
        check=True,
        capture_output=True,
    )
    own = [json.loads(line) for line in labels.read_text().splitlines()]
    expected = [line["untuned"] for line in own]
    different = [at for at, (a, b) in enumerate(zip(chosen, expected, strict=True)) if a != b]
    assert different == [], f"examples {different} of {len(own)} differ"
    return f"{len(own)} of {len(own)} the same"


@feature("local-completions, generate_until")
def _():
    samples = harness("local-completions", "/completions", "tickets_answer", limit=4)
    assert all(sample["resps"][0][0] for sample in samples)


@feature("local-chat-completions, generate_until")
def _():
    samples = harness("local-chat-completions", "/chat/completions", "tickets_chat", chat=True, limit=4)
    assert all(sample["resps"][0][0] for sample in samples)
