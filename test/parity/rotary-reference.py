"""Writes test/fixtures/rotary/golden.json: logits of tiny checkpoints under other rotary settings, computed in double precision by the
formulas of transformers 5 (modeling_rope_utils.py: _compute_longrope_parameters, _compute_dynamic_ntk_parameters,
_compute_yarn_parameters, _compute_linear_scaling_rope_parameters). It needs Python 3 with numpy, and shares no code with
Quartet. Run: python3 test/parity/rotary-reference.py
"""

import base64
import json
import math
import pathlib
import struct

import numpy as np

fixtures = pathlib.Path(__file__).parent.parent / "fixtures" / "backbones"


def read_tensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        raw = data[8 + length + start : 8 + length + end]
        assert entry["dtype"] == "BF16", entry
        bits = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16
        tensors[name] = bits.view(np.float32).astype(np.float64).reshape(entry["shape"])
    return tensors


def frequencies(config, rope, dim, rows):
    """Inverse frequencies [dim / 2], and what scales sines and cosines, for a sequence of so many rows."""
    base = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    exponents = np.arange(0, dim, 2) / dim
    kind = rope.get("rope_type", rope.get("type", "default"))
    positions = config["max_position_embeddings"]
    if kind == "default":
        return base**-exponents, 1.0
    if kind == "linear":
        return base**-exponents / rope["factor"], 1.0
    if kind == "dynamic":
        factor, length = rope["factor"], max(rows, positions)
        base = base * (factor * length / positions - (factor - 1)) ** (dim / (dim - 2))
        return base**-exponents, 1.0
    original = rope.get("original_max_position_embeddings", config.get("original_max_position_embeddings", positions))
    factor = rope.get("factor", positions / original)
    if kind in ("longrope", "su"):
        scale = rope.get("attention_factor")
        if scale is None:
            scale = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
        factors = np.array(rope["long_factor" if rows > original else "short_factor"])
        return 1 / (factors * base**exponents), scale
    assert kind == "yarn", kind
    scale = rope.get("attention_factor")
    if scale is None:
        scale = 1.0 if factor <= 1 else 0.1 * math.log(factor) + 1
    dimension = lambda turns: dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
    low = max(math.floor(dimension(rope.get("beta_fast", 32))), 0)
    high = min(math.ceil(dimension(rope.get("beta_slow", 1))), dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
    kept = 1 - ramp
    return base**-exponents / factor * (1 - kept) + base**-exponents * kept, scale


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def logits(config, tensors, ids):
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    share = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    dim = int(size * share)
    inverse, scale = frequencies(config, rope, dim, len(ids))
    angles = np.arange(len(ids))[:, None] * inverse[None, :]
    cos = np.concatenate([np.cos(angles)] * 2, -1) * scale
    sin = np.concatenate([np.sin(angles)] * 2, -1) * scale
    eps = config["rms_norm_eps"]

    def turned(x):
        part, rest = x[..., :dim], x[..., dim:]
        half = np.concatenate([-part[..., dim // 2 :], part[..., : dim // 2]], -1)
        return np.concatenate([part * cos + half * sin, rest], -1)

    def split(x, count):
        return x.reshape(len(ids), count, size).transpose(1, 0, 2)

    x = tensors["model.embed_tokens.weight"][ids]
    mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        take = lambda name: tensors[at + name + ".weight"]
        y = norm(x, take("input_layernorm"), eps)
        if at + "self_attn.qkv_proj.weight" in tensors:
            parts = np.split(y @ take("self_attn.qkv_proj").T, [heads * size, (heads + kv_heads) * size], -1)
        else:
            parts = [y @ take(f"self_attn.{part}_proj").T for part in "qkv"]
        q, k, v = split(parts[0], heads), split(parts[1], kv_heads), split(parts[2], kv_heads)
        q, k = turned(q), np.repeat(turned(k), heads // kv_heads, 0)
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(size) + mask
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ np.repeat(v, heads // kv_heads, 0)).transpose(1, 0, 2).reshape(len(ids), heads * size)
        x = x + mixed @ take("self_attn.o_proj").T
        y = norm(x, take("post_attention_layernorm"), eps)
        if at + "mlp.gate_up_proj.weight" in tensors:
            gate, up = np.split(y @ take("mlp.gate_up_proj").T, 2, -1)
        else:
            gate, up = y @ take("mlp.gate_proj").T, y @ take("mlp.up_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ take("mlp.down_proj").T
    x = norm(x, tensors["model.norm.weight"], eps)
    return x @ tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"]).T


def factors(count, slope):
    return [1 + slope * i / count for i in range(count)]


longrope = {"type": "longrope", "short_factor": factors(16, 0.5), "long_factor": factors(16, 6)}
partial = {"rope_type": "longrope", "short_factor": factors(12, 0.3), "long_factor": factors(12, 3)}
original = {"original_max_position_embeddings": 128}
dynamic = {"max_position_embeddings": 128, "rope_scaling": {"type": "dynamic", "factor": 2.5}}
cases = [
    ("longrope within the original length", "phi3", {**original, "rope_parameters": None, "rope_scaling": longrope}, 100),
    ("longrope beyond the original length", "phi3", {**original, "rope_parameters": None, "rope_scaling": longrope}, 200),
    (
        "longrope with a factor of its own, under its older name",
        "phi3",
        {**original, "rope_parameters": None, "rope_scaling": {**longrope, "type": "su", "attention_factor": 1.5}},
        200,
    ),
    (
        "longrope on three quarters of each head, in rope_parameters",
        "phi3",
        {"rope_parameters": {**partial, **original, "rope_theta": 5000.0, "partial_rotary_factor": 0.75}},
        200,
    ),
    ("half of each head turned", "phi3", {"rope_parameters": None, "partial_rotary_factor": 0.5, "rope_theta": 1e5}, 64),
    ("dynamic within the trained length", "llama-rope-linear", {**dynamic, "rope_parameters": None}, 100),
    ("dynamic between the trained and the longest length", "llama-rope-linear", {**dynamic, "rope_parameters": None}, 190),
    (
        "dynamic in rope_parameters, with heads that are filled up",
        "llama-rope-linear",
        {
            **{"max_position_embeddings": 64, "head_dim": 8, "num_attention_heads": 16, "num_key_value_heads": 8},
            "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 5e4},
        },
        150,
    ),
    ("dynamic at the longest length", "llama-rope-linear", {**dynamic, "rope_parameters": None}, 320),
    (
        "yarn under its older name, with an attention factor",
        "llama-rope-linear",
        {
            "rope_parameters": None,
            "rope_theta": 20000.0,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 1.3, "beta_fast": 16, **original},
        },
        200,
    ),
    (
        "linear under its older name, without head_dim",
        "llama-rope-linear",
        {"head_dim": None, "rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 3.0}},
        64,
    ),
]
golden = []
for name, fixture, settings, rows in cases:
    config = {**json.loads((fixtures / fixture / "config.json").read_text()), **settings}
    ids = [(i * 47 + 3) % config["vocab_size"] for i in range(rows)]
    last = logits(config, read_tensors(fixtures / fixture / "model.safetensors"), ids)[-1]
    packed = base64.b64encode(last.astype("<f4").tobytes()).decode()
    golden.append({"name": name, "fixture": fixture, "settings": settings, "rows": rows, "logits": packed})
path = fixtures.parent / "rotary" / "golden.json"
path.write_text(json.dumps(golden, indent=1) + "\n")
