#!/usr/bin/env python3
"""Training side by side: `attnlab train` and the same GPT in PyTorch, in alternation.

Both train CONFIG's model with the scheme mha on random windows of the same text, with AdamW, clipping and the
cosine schedule of the config. A round is one run of each; times are milliseconds an update, without evaluation,
as each side clocks itself. Needs PyTorch; says so and ends with 3 when it is absent.
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# Threads that spin after their work is done would take the CPU from the other side's runs, and from PyTorch's own
# BLAS: it then runs three times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    print("peer absent: python3 -c 'import torch' fails", file=sys.stderr)
    sys.exit(3)


class Attention(nn.Module):
    def __init__(self, width, heads, dropout, fused):
        super().__init__()
        self.heads, self.dropout, self.fused = heads, dropout, fused
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = (part.view(batch, tokens, self.heads, -1).transpose(1, 2)
                   for part in self.c_attn(x).split(width, dim=2))
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout)
        else:
            hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
            logits = (q @ k.transpose(-2, -1)) / math.sqrt(q.size(-1))
            y = functional.dropout(torch.softmax(logits.masked_fill(hidden, float("-inf")), -1), self.dropout) @ v
        return functional.dropout(self.c_proj(y.transpose(1, 2).reshape(batch, tokens, width)), self.dropout)


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return functional.layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class Block(nn.Module):
    def __init__(self, width, heads, dropout, fused):
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = Norm(width), Attention(width, heads, dropout, fused), Norm(width)
        self.dropout = dropout
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.c_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + functional.dropout(self.c_proj(functional.gelu(self.c_fc(self.ln_2(x)))), self.dropout)


class Gpt(nn.Module):
    def __init__(self, vocabulary, model, fused):
        super().__init__()
        width = model["embed_dim"]
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(model["block"], width)
        self.blocks = nn.ModuleList(Block(width, model["query_heads"], model["dropout"], fused) for _ in range(model["layers"]))
        self.ln_f, self.dropout = Norm(width), model["dropout"]
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def forward(self, ids, targets):
        x = functional.dropout(self.wte(ids) + self.wpe.weight[: ids.size(1)], self.dropout)
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def peer_milliseconds(plan, text, updates, fused):
    model_plan, train = plan["model"], plan["train"]
    alphabet = {c: i for i, c in enumerate(sorted(set(text)))}
    data = torch.tensor([alphabet[c] for c in text[: int(0.9 * len(text))]])
    model = Gpt(len(alphabet), model_plan, fused)
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW([{"params": decay, "weight_decay": train["weight_decay"]}, {"params": plain, "weight_decay": 0}],
                                  lr=train["learning_rate"], betas=(train["beta1"], train["beta2"]))
    block, clocks = model_plan["block"], []
    for step in range(updates):
        begin = time.perf_counter()
        at = torch.randint(len(data) - block, (train["batch"],))
        ids = torch.stack([data[i:i + block] for i in at])
        targets = torch.stack([data[i + 1:i + 1 + block] for i in at])
        loss = model(ids, targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if train["clip"] > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), train["clip"])
        optimiser.step()
        clocks.append(1e3 * (time.perf_counter() - begin))
    return statistics.mean(clocks[2:])  # the first updates set things up


def own_milliseconds(options, folder, updates):
    run = os.path.join(folder, "run")
    command = [options.attnlab, "train", options.config, "--set", f"/task/text={options.text}", "--set", f"/train/steps={updates}",
               "--set", "/train/warmup=1", "--set", "/task/training_fraction=0.999", "--set", f"/train/evaluate_every={updates}", "--set", f"/train/checkpoint_every={updates}",
               "--threads", str(options.threads), "--out", run, "--fresh", "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time_json = json.loads(pathlib.Path(run, "time.json").read_text())
    plan = json.loads(pathlib.Path(run, "resolved.json").read_text())
    return time_json["milliseconds_per_update"], plan


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attnlab", required=True, help="the program")
    parser.add_argument("--config", default="configs/train/shakespeare.json")
    parser.add_argument("--text", required=True)
    parser.add_argument("--updates", type=int, default=40, help="of each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.text = os.path.abspath(options.text)
    torch.set_num_threads(options.threads)
    fused = hasattr(functional, "scaled_dot_product_attention")
    text = pathlib.Path(options.text).read_text()
    own, peer = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            milliseconds, plan = own_milliseconds(options, folder, options.updates)
            own.append(milliseconds)
            peer.append(peer_milliseconds(plan, text, options.updates, fused))
    ratios = [p / o for p, o in zip(peer, own)]
    tokens = plan["train"]["batch"] * plan["model"]["block"]
    print(f"PyTorch {torch.__version__}, {options.threads} threads, {tokens} tokens an update, {options.rounds} rounds of {options.updates} updates")
    print(f"attnlab  {spread(own)} ms an update, {1e3 * tokens / statistics.median(own):.0f} tokens/s")
    print(f"PyTorch  {spread(peer)} ms an update, {1e3 * tokens / statistics.median(peer):.0f} tokens/s")
    print(f"ratio    {statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
