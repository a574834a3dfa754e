"""LoRA in PyTorch under the protocol of docs/results.md, as a yardstick for adapters. README.md beside it says how to run it."""

import argparse
import copy
import json
import math
import os
import random
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BATCH = 16
WARMUP = 0.06
DECAY = 0.01
CLIP = 1.0
# Rates among which dev data choose.
RATES = (3e-4, 1e-3, 3e-3)


class LowRank(nn.Module):
    """A linear map W and its update: W x + (alpha / r) B A x. B starts at zero (arXiv 2106.09685)."""

    def __init__(self, linear: nn.Linear, rank: int):
        super().__init__()
        self.linear = linear
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        # alpha = 2 r.
        self.scale = 2.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.scale * F.linear(F.linear(x, self.down), self.up)


def load(path: str) -> nn.Module:
    from transformers import AutoModelForCausalLM

    of = {"dtype": torch.float32, "local_files_only": True}
    if path.endswith(".gguf"):
        folder, name = os.path.split(os.path.abspath(path))
        return AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, **of)
    return AutoModelForCausalLM.from_pretrained(path, **of)


def with_lora(model: nn.Module, rank: int) -> list[nn.Parameter]:
    """Freezes the model and puts an update on each projection of each layer; returns what is trained."""
    if getattr(model.config, "final_logit_softcapping", None):
        raise SystemExit("a model that caps its logits is not supported: the loss takes the head's own")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    trained = []
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in PROJECTIONS and isinstance(child, nn.Linear):
                lora = LowRank(child, rank)
                setattr(module, name, lora)
                trained += [lora.down, lora.up]
    return trained


def losses(model: nn.Module, examples: list[dict]) -> torch.Tensor:
    """The sum of -log p over each example's response tokens, [examples]."""
    rows = [example["instruction"] + example["response"] for example in examples]
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    seen = torch.zeros(len(rows), longest, dtype=torch.long)
    wanted = torch.zeros(len(rows), longest - 1)
    for at, (row, example) in enumerate(zip(rows, examples)):
        ids[at, : len(row)] = torch.tensor(row)
        seen[at, : len(row)] = 1
        wanted[at, len(example["instruction"]) - 1 : len(row) - 1] = 1
    # The head runs where a response token is predicted alone: its logits are as wide as the vocabulary.
    hidden = model.model(input_ids=ids, attention_mask=seen).last_hidden_state[:, :-1]
    predicted = wanted.bool()
    each = torch.zeros_like(wanted)
    each[predicted] = F.cross_entropy(model.lm_head(hidden[predicted]), ids[:, 1:][predicted], reduction="none")
    return each.sum(dim=1)


def factor(step: int, steps: int) -> float:
    """A linear rise over the warm-up, then a linear fall to zero."""
    rise = math.ceil(steps * WARMUP)
    return (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise)


def epoch(examples: list[dict], order: random.Random) -> list[dict]:
    """All examples in a random order of batches, of which each has examples of similar length, so that little is padded."""
    shuffled = order.sample(examples, len(examples))
    batches = []
    for at in range(0, len(shuffled), 8 * BATCH):
        part = sorted(shuffled[at : at + 8 * BATCH], key=lambda one: len(one["instruction"]) + len(one["response"]))
        batches += [part[from_ : from_ + BATCH] for from_ in range(0, len(part), BATCH)]
    return [example for batch in order.sample(batches, len(batches)) for example in batch]


def train(model, trained, examples, *, rate: float, steps: int, seed: int) -> None:
    order = random.Random(seed)
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=DECAY)
    waiting: list[dict] = []
    model.train()
    for step in range(steps):
        if len(waiting) < BATCH:
            waiting += epoch(examples, order)
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        tokens = sum(len(example["response"]) for example in batch)
        for group in optimizer.param_groups:
            group["lr"] = rate * factor(step, steps)
        optimizer.zero_grad()
        loss = losses(model, batch).sum() / tokens
        loss.backward()
        nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        if (step + 1) % 10 == 0:
            print(f"  step {step + 1}/{steps}: loss {loss.item():.4f}", file=sys.stderr)
    model.eval()


@torch.no_grad()
def loss_per_token(model, examples) -> float:
    total = sum(losses(model, examples[at : at + BATCH]).sum().item() for at in range(0, len(examples), BATCH))
    return total / sum(len(example["response"]) for example in examples)


@torch.no_grad()
def likeliest(model, instruction: list[int], choices: list[list[int]]) -> list[int]:
    """
    The choice with the highest likelihood as a whole response. The prompt is read once. Choices run in the order of
    their first token's likelihood, until that is below the whole likelihood of one that ran: no other can be likelier.
    """
    prompt = model(input_ids=torch.tensor([instruction]), use_cache=True)
    first = F.log_softmax(prompt.logits[0, -1], dim=-1)
    ordered = sorted(choices, key=lambda choice: -first[choice[0]].item())
    best, value = ordered[0], -math.inf
    for at in range(0, len(ordered), 8):
        group = [choice for choice in ordered[at : at + 8] if first[choice[0]].item() > value]
        if not group:
            break
        longest = max(map(len, group))
        ids = torch.tensor([choice + [0] * (longest - len(choice)) for choice in group])
        sums = first[ids[:, 0]].clone()
        if longest > 1:
            cache = copy.deepcopy(prompt.past_key_values)
            cache.batch_repeat_interleave(len(group))
            # Choices are padded on the right, where causal attention lets no token see the padding.
            logits = model(input_ids=ids[:, :-1], past_key_values=cache).logits
            each = F.log_softmax(logits, dim=-1).gather(2, ids[:, 1:, None])[:, :, 0]
            inside = torch.arange(1, longest) < torch.tensor([[len(choice)] for choice in group])
            sums += (each * inside).sum(dim=1)
        top = int(sums.argmax())
        if sums[top].item() > value:
            best, value = group[top], sums[top].item()
    return best


def accuracy(model, examples, choices) -> float:
    """The share of examples whose likeliest choice, as a whole response, is right."""
    right = sum(likeliest(model, one["instruction"], choices) == one["response"] for one in examples)
    return right / len(examples)


def fresh(folder: str, rank: int, seed: int):
    torch.manual_seed(seed)
    model = load(folder)
    return model, with_lora(model, rank)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of the backbone as Hugging Face publishes it, or its GGUF file")
    parser.add_argument("--task", required=True, help="file that experiments/lora/export.ts wrote")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, help="without it, dev data choose")
    parser.add_argument("--steps", type=int, help="instead of whole epochs")
    parser.add_argument("--tests", type=int, help="measure the first N test examples alone")
    arguments = parser.parse_args()
    with open(arguments.task) as file:
        task = json.load(file)
    examples, dev, choices = task["train"], task["dev"], task["choices"]
    steps = arguments.steps or arguments.epochs * math.ceil(len(examples) / BATCH)
    tried = []
    for rate in RATES if arguments.rate is None else (arguments.rate,):
        model, trained = fresh(arguments.model, arguments.rank, arguments.seed)
        begun = time.perf_counter()
        train(model, trained, examples, rate=rate, steps=steps, seed=arguments.seed)
        seconds = time.perf_counter() - begun
        tried.append((loss_per_token(model, dev), rate, seconds, model, trained))
        print(f"rate {rate}: dev loss {tried[-1][0]:.4f}", file=sys.stderr)
    _, rate, seconds, model, trained = min(tried, key=lambda one: one[0])
    held = task["likelihood"][: arguments.tests]
    labelled = task["labels"][: arguments.tests]
    print(
        json.dumps(
            {
                "task": task["task"],
                "model": f"lora-r{arguments.rank}",
                "seed": arguments.seed,
                "steps": steps,
                "rate": rate,
                "devLosses": {each: loss for loss, each, *_ in tried},
                "parameters": sum(parameter.numel() for parameter in trained),
                "loss": loss_per_token(model, held),
                **({"labelAccuracy": accuracy(model, labelled, choices)} if labelled else {}),
                **({"devAccuracy": accuracy(model, dev, choices)} if labelled else {}),
                "trainSeconds": round(seconds, 1),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
