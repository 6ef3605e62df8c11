"""Speed of robertaEMO beside a peer in one run: training step, token cache, start-up.

Writes sections of benchmarks/RESULTS.md.

    python benchmarks/robertaemo.py [--only step,cache,start] [--sizes base,large] [--precisions fp32,bf16]
        [--batches 6] [--longest 2048] [--device cuda]

The peer of the training step is the same model put together from `transformers.RobertaModel`, with shuffled batches
padded to the longest item. Ours takes its batches from the data set, by length. Both sides get an even sample over the
cost of their batches of one epoch, in turns, at the same precision.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
BATCH = 8
CAPS = {"text": 512, "audio": 2048}
WARM_UP = 64  # tokens


def lengths(longest: int = CAPS["audio"]) -> dict[str, np.ndarray]:
    """Token counts of the published IEMOCAP training list, cut to what the encoders take, or to ``longest``."""
    with open(HERE / "iemocap_lengths.csv", newline="") as file:
        rows = [(int(r["text"]), int(r["audio"])) for r in csv.DictReader(file)]
    text, audio = np.array(rows).T
    return {"text": np.minimum(text, CAPS["text"]), "audio": np.minimum(audio, longest)}


def our_batches(size: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Batches in the data set's order: by length of speech."""
    from emofair.data.base import EmofairDataset

    dataset = EmofairDataset(size["audio"], seed=1, training=True)
    return dataset.batch_by_size(dataset.ordered_indices(), max_sentences=BATCH)


def shuffled_batches(size: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Batches of a plain shuffling loader."""
    order = np.random.default_rng(1).permutation(len(size["audio"]))
    return np.split(order, range(BATCH, len(order), BATCH))


def padded_tokens(batch: np.ndarray, size: dict[str, np.ndarray]) -> int:
    """Positions that a batch occupies, padding included."""
    return int(sum(s[batch].max() * len(batch) for s in size.values()))


def padding_share(batches: list[np.ndarray], size: dict[str, np.ndarray]) -> float:
    """Share of padding in all positions of an epoch."""
    real = sum(int(s.sum()) for s in size.values())
    return 1 - real / sum(padded_tokens(b, size) for b in batches)


def spread(batches: list[np.ndarray], size: dict[str, np.ndarray], count: int) -> list[np.ndarray]:
    """An even sample over the batches sorted by cost: its mean stands for the epoch's."""
    full = sorted((b for b in batches if len(b) == BATCH), key=lambda b: padded_tokens(b, size))
    return [full[int((i + 0.5) * len(full) / count)] for i in range(count)]


def make_inputs(batch: np.ndarray, size: dict[str, np.ndarray], vocabulary: dict[str, int], device: str) -> dict:
    """Random ids with the lengths of a batch, right-padded with 1."""
    inputs = {}
    for name, s in size.items():
        ids = torch.randint(4, vocabulary[name], (len(batch), int(s[batch].max())))
        ids[torch.arange(ids.size(1)) >= torch.as_tensor(s[batch])[:, None]] = 1
        inputs[name] = ids.to(device)
    inputs["target"] = torch.randint(0, 4, (len(batch),), device=device)
    return inputs


def two_way_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The binary IEMOCAP loss: four two-way decisions per item."""
    present = (target[:, None] == torch.arange(4, device=target.device)).long()
    return nn.functional.cross_entropy(logits.float().view(-1, 2), present.view(-1), reduction="sum")


def our_model(size: str) -> nn.Module:
    """robertaEMO as fairseq-train builds it, from random weights."""
    import emofair

    emofair.register()
    from omegaconf import OmegaConf

    from emofair.models.robertaemo import RobertaEMOConfig, RobertaEMOModel

    cfg = OmegaConf.structured(RobertaEMOConfig(all_in=True, ssl_random=size, pooler_dropout=0.1))
    OmegaConf.update(cfg, "classification_head_name", "head", force_add=True)
    OmegaConf.set_struct(cfg, False)
    cfg._name = "robertaEMO"
    model = RobertaEMOModel.build_model(cfg)
    model.register_classification_head("head", 8)
    return model


class Peer(nn.Module):
    """The same model from `transformers`."""

    def __init__(self, specs: dict) -> None:
        super().__init__()
        from transformers import RobertaConfig, RobertaModel

        self.encoders = nn.ModuleDict()
        for name, spec in specs.items():
            config = RobertaConfig(
                vocab_size=spec.vocab_size,
                hidden_size=spec.embed_dim,
                num_hidden_layers=spec.layers,
                num_attention_heads=spec.heads,
                intermediate_size=spec.ffn_dim,
                max_position_embeddings=spec.max_positions + 2,
                type_vocab_size=1,
                pad_token_id=1,
                hidden_dropout_prob=spec.dropout,
                attention_probs_dropout_prob=spec.attention_dropout,
            )
            self.encoders[name] = RobertaModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(sum(spec.embed_dim for spec in specs.values()), 8)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        summaries = []
        for name, encoder in self.encoders.items():
            ids = inputs[name]
            summaries.append(encoder(input_ids=ids, attention_mask=ids.ne(1)).last_hidden_state[:, 0])
        return self.out(self.dropout(torch.cat(summaries, dim=-1)))


def flops(specs: dict, size: dict[str, np.ndarray], batch: np.ndarray) -> float:
    """Useful operations of a forward and backward pass: matrix products over real tokens only."""
    total = 0.0
    for name, spec in specs.items():
        n = size[name][batch].astype(float)
        per_token = 2 * (4 * spec.embed_dim**2 + 2 * spec.embed_dim * spec.ffn_dim)
        total += spec.layers * (per_token * n.sum() + 4 * spec.embed_dim * (n**2).sum())
    return 3 * total


def bench_step(model_size: str, count: int, device: str, precisions: list[str], longest: int) -> Iterator[list[str]]:
    """Rows of the step table, one per precision."""
    size = lengths(longest)
    ours = our_model(model_size).to(device).train()
    specs = {"text": ours.encoder("text").spec, "audio": ours.encoder("speech").spec}
    peer = Peer(specs).to(device).train()
    vocabulary = {name: spec.vocab_size for name, spec in specs.items()}
    batches = {"ours": our_batches(size), "peer": shuffled_batches(size)}
    sample = {side: spread(b, size, count) for side, b in batches.items()}
    for precision in precisions:
        dtype = common.PRECISIONS[precision]
        ceiling = common.gemm_ceiling(dtype or torch.float32, device)
        times: dict[str, list[float]] = {"ours": [], "peer": []}

        def step(side: str, inputs: dict, dtype=dtype) -> None:
            model = ours if side == "ours" else peer
            model.zero_grad(set_to_none=True)
            with torch.autocast(device.split(":")[0], dtype, enabled=dtype is not None):
                if side == "ours":
                    logits, _ = ours(audio=inputs["audio"], text=inputs["text"], classification_head_name="head")
                else:
                    logits = peer(inputs)
                loss = two_way_loss(logits, inputs["target"])
            loss.backward()

        short = {name: np.minimum(s, WARM_UP) for name, s in size.items()}
        for side in times:
            step(side, make_inputs(sample[side][0], short, vocabulary, device))
        for index in range(count):
            for side in ("ours", "peer") if index % 2 else ("peer", "ours"):
                inputs = make_inputs(sample[side][index], size, vocabulary, device)
                times[side].append(common.seconds(lambda side=side, inputs=inputs: step(side, inputs), device))
        mean = {side: statistics.mean(t) for side, t in times.items()}
        used = sum(flops(specs, size, b) for b in sample["ours"]) / count / mean["ours"] / ceiling
        used_peer = sum(flops(specs, size, b) for b in sample["peer"]) / count / mean["peer"] / ceiling
        row = [
            f"{'roberta.large + base' if model_size == 'large' else 'base + base'}",
            precision,
            f"{mean['ours']:.2f}",
            f"{mean['peer']:.2f}",
            f"**{mean['peer'] / mean['ours']:.2f}**",
            f"{padding_share(batches['ours'], size):.0%}",
            f"{padding_share(batches['peer'], size):.0%}",
            f"{used:.0%}",
            f"{used_peer:.0%}",
        ]
        print(" | ".join(row), flush=True)
        yield row


def bench_cache() -> list[list[str]]:
    """Items per second (speech and text ids) from text files and from the packed cache."""
    from emofair.data.token_cache import TokenCache
    from emofair.data.token_files import parse_tokens

    size = lengths()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        ids = [f"u{i}" for i in range(len(size["audio"]))]
        for kind, key in (("audio_token", "audio"), ("text", "text")):
            (raw / "train" / kind).mkdir(parents=True)
            for name, n in zip(ids, size[key], strict=True):
                tokens = [0, *rng.integers(4, 13000, int(n) - 2).tolist(), 2]
                (raw / "train" / kind / f"{name}.txt").write_text("".join(f"{t}\t" for t in tokens))
        order = rng.permutation(len(ids))

        def plain(path: Path) -> torch.Tensor:
            return torch.tensor([int(t) for t in path.read_text().split()])

        def from_files(read) -> None:
            for i in order:
                for kind in ("audio_token", "text"):
                    read(raw / "train" / kind / f"{ids[i]}.txt")

        start = time.perf_counter()
        caches = [TokenCache.open(raw, "train", kind, ids) for kind in ("audio_token", "text")]
        build = time.perf_counter() - start
        start = time.perf_counter()
        caches = [TokenCache.open(raw, "train", kind, ids) for kind in ("audio_token", "text")]
        warm = time.perf_counter() - start

        def from_cache() -> None:
            for i in order:
                for cache in caches:
                    np.array(cache[i])  # a copy, so that the pages are really read

        rate = {
            "text files, int() per token": len(ids) / common.seconds(lambda: from_files(plain)),
            "text files, our parser": len(ids) / common.seconds(lambda: from_files(parse_tokens)),
            "packed cache": len(ids) / common.seconds(from_cache),
        }
    base = rate["text files, our parser"]
    rows = [[name, f"{value:,.0f}", f"{value / base:.1f}"] for name, value in rate.items()]
    rows.append([f"(building the cache {build:.2f} s, opening it again {warm:.2f} s, {len(ids):,} items)", "", ""])
    return rows


START_PROGRAM = """
import sys, time
start = time.perf_counter()
import fairseq_cli.train, torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
stock = time.perf_counter() - start
ours = 0.0
class timed:
    depth = 0
    def __init__(self, function): self.function = function
    def __call__(self, *args, **kwargs):
        global ours
        timed.depth += 1
        begin = time.perf_counter()
        try:
            return self.function(*args, **kwargs)
        finally:
            timed.depth -= 1
            if not timed.depth: ours += time.perf_counter() - begin
import emofair
timed(emofair.register)()
from emofair.tasks.emotion_prediction import EmotionPredictionTask as Task
for name in ("setup_task", "build_model", "load_dataset", "build_criterion"):
    if name == "setup_task":
        inner = Task.setup_task
        Task.setup_task = staticmethod(timed(inner))
    else:
        inner = getattr(Task, name)
        setattr(Task, name, (lambda f: lambda self, *a, **k: timed(f)(self, *a, **k))(inner))
class Stop(Exception): pass
def first_update(self, *args, **kwargs):
    result = inner_step(self, *args, **kwargs)
    raise Stop
inner_step = Task.optimizer_step
Task.optimizer_step = first_update
args = options.parse_args_and_arch(options.get_training_parser(), input_args=sys.argv[1:])
try:
    fairseq_cli.train.main(convert_namespace_to_omegaconf(args))
except Stop:
    pass
print("SECONDS", time.perf_counter() - start, stock, ours)
"""


def bench_start(repeats: int = 3) -> list[list[str]]:
    """Seconds from starting fairseq-train to its first update, and how many of them are spent in emofair's code."""
    from emofair.testing import tiny_ssl_dir, token_corpus
    from emofair.testing.commands import seed_arguments

    results = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        corpus = token_corpus(folder / "corpus", n={"train": 2000, "valid": 200, "test": 200})
        ssl = tiny_ssl_dir(folder / "ssl")
        for index in range(repeats + 1):  # the first run builds the token cache and warms the disk
            arguments = seed_arguments(corpus, ssl, folder / f"run{index}")
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", START_PROGRAM, *arguments],
                capture_output=True,
                text=True,
            )
            line = [text for text in done.stdout.splitlines() if text.startswith("SECONDS")]
            if not line:
                raise SystemExit(done.stderr[-2000:])
            results.append([float(value) for value in line[0].split()[1:]])
    total, stock, ours = (statistics.median(column) for column in zip(*results[1:], strict=True))
    return [[f"{total:.2f}", f"{stock:.2f}", f"{ours:.2f}"]]


def main() -> None:
    """Run what was asked for and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="step,cache,start")
    parser.add_argument("--sizes", default="base,large")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--batches", type=int, default=6, help="batches per side and precision")
    parser.add_argument(
        "--longest",
        type=int,
        default=CAPS["audio"],
        help="cut speech to so many tokens: on a CPU attention with dropout takes some 40 GB for long batches",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default=str(common.RESULTS))
    args = parser.parse_args()
    only = args.only.split(",")

    def write(heading: str, *more: str) -> None:
        common.write_section(args.out, f"robertaEMO: {heading}", common.written_by(args.device), *more)

    if "start" in only:
        header = ["fairseq-train to the first update, s", "of it importing fairseq and torch", "of it in emofair"]
        table = common.table(header, bench_start())
        write("start-up", "Median of 3 runs, tiny models, 2,000 training items.", table)
    if "cache" in only:
        header = ["source", "items/s (speech and text)", "ratio"]
        write("token cache", common.table(header, bench_cache()))
    if "step" in only:
        header = ["text + speech encoder", "precision", "ours, s", "transformers, s", "ratio"]
        header += ["padding, ours", "padding, peer", "of GEMM, ours", "of GEMM, peer"]
        about = (
            f"Batches of {BATCH} with the lengths of the published IEMOCAP training list, speech cut to {args.longest} "
            f"tokens; ours grouped by length, the "
            f"peer's shuffled; mean over {args.batches} batches spread evenly over the cost of an epoch's. bf16 is "
            "autocast on both sides. *of GEMM*: operations on real tokens per second, as a share of the rate of a "
            "2048 x 2048 matrix product measured in the same run."
        )
        rows = []
        for size in args.sizes.split(","):
            for row in bench_step(size, args.batches, args.device, args.precisions.split(","), args.longest):
                rows.append(row)  # after each figure: what is measured is not lost when the rest is stopped
                write("training step (forward and backward)", about, common.table(header, rows))
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
