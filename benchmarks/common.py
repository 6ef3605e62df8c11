"""What the benchmarks share: timing, sides in processes of their own, the ceiling, tables that are written."""

from __future__ import annotations

import contextlib
import multiprocessing
import platform
import resource
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from emofair.inference.provenance import source_commit

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
Turn = Callable[[Any], Any]
_STATUS = Path("/proc/self/status")


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], device: str = "cpu") -> float:
    """Wall time of one call."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def gemm_ceiling(dtype: torch.dtype, device: str = "cpu", size: int = 2048, repeats: int = 5) -> float:
    """Best rate of a square matrix product on this machine, in floating-point operations per second."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    best = min(seconds(lambda: a @ b, device) for _ in range(repeats))
    return 2 * size**3 / best


class Ceiling:
    """The best rates of matrix products on this machine, looked at again and again while sides take turns.

    Where others use the machine, too, one look says little: sides would seem to be faster than the products.
    """

    def __init__(self, dtypes: Iterable[torch.dtype], device: str = "cpu") -> None:
        self.rates = dict.fromkeys(dtypes, 0.0)
        self.device = device

    def look(self) -> None:
        """Measure again."""
        for dtype, best in self.rates.items():
            self.rates[dtype] = max(best, gemm_ceiling(dtype, self.device))

    def share(self, flops: float, took: float, dtype: torch.dtype) -> str:
        """``flops`` in ``took`` seconds as a share of the products in ``dtype``."""
        return f"{flops / took / self.rates[dtype]:.0%}"


class Peak(NamedTuple):
    """The most memory that a process has held, in GB: all that was resident (on a GPU, what torch held there), and what
    of it was its own, without files that are mapped into it (a sample every 50 ms; 0 where the system does not tell).
    """

    total: float
    own: float


class _Watch(threading.Thread):
    """Looks after the memory of this process while it works."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = 0.0
        self.stop = threading.Event()

    def run(self) -> None:
        while _STATUS.exists() and not self.stop.wait(0.05):
            self.own = max(self.own, _memory("RssAnon"))

    def peak(self, device: str) -> Peak:
        self.stop.set()
        self.join()
        if device != "cpu":
            return Peak(torch.cuda.max_memory_allocated() / 1e9, self.own)
        if _STATUS.exists():  # getrusage counts what the parent held before the program was loaded
            return Peak(_memory("VmHWM"), self.own)
        unit = 1 if sys.platform == "darwin" else 1024
        return Peak(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 0.0)


def _memory(name: str) -> float:
    """A figure of ``/proc/self/status`` in GB."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e9


class Side:
    """One side of a comparison, in a process of its own, so that its memory is its own; it works when it is its turn.

    ``build(**options)`` is called there and returns a function of one argument, which is what a turn calls.
    """

    _is_ready = False
    result: Any = None
    """What the latest turn returned."""

    def __init__(self, build: Callable[..., Turn], device: str = "cpu", **options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, build, device, options))
        self._process.start()
        other.close()

    def wait(self) -> None:
        """Return when the side is built; several are built at the same time."""
        if not self._is_ready:
            self._answer()
            self._is_ready = True

    def turn(self, what: Any = None) -> tuple[float, Any]:
        """Seconds that a turn took, and what it returned."""
        self.wait()
        self._pipe.send((what,))
        took, self.result = self._answer()
        return took, self.result

    def close(self) -> Peak:
        """End the process; the most memory that it held."""
        self._pipe.send(None)
        peak = self._answer()
        self._process.join()
        return peak

    def _answer(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise SystemExit(f"a side of the comparison died (exit code {self._process.exitcode})") from None


def _serve(pipe: Any, build: Callable[..., Turn], device: str, options: Mapping[str, Any]) -> None:
    watch = _Watch()
    watch.start()
    turn = build(device=device, **options)
    pipe.send("ready")
    while (message := _next(pipe)) is not None:
        result = None

        def run(what: Any = message[0]) -> None:
            nonlocal result
            result = turn(what)

        pipe.send((seconds(run, device), result))
    with contextlib.suppress(OSError):
        pipe.send(watch.peak(device))


def _next(pipe: Any) -> tuple[Any] | None:
    with contextlib.suppress(EOFError):  # the comparison was stopped
        return pipe.recv()
    return None


def take_turns(sides: Mapping[str, Side], count: int, ceiling: Ceiling, warm_up: int = 1) -> dict[str, float]:
    """Seconds per turn of each side: the median of ``count``, which they take in alternating order; between them
    ``ceiling`` is measured."""
    for side in sides.values():
        side.wait()
    times: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for index in range(warm_up + count):
        ceiling.look()
        for name in order if index % 2 else order[::-1]:
            took, _ = sides[name].turn(index)
            if index >= warm_up:
                times[name].append(took)
    return {name: sorted(took)[len(took) // 2] for name, took in times.items()}


def machine(device: str = "cpu") -> str:
    """One line about the machine and the software."""
    name = torch.cuda.get_device_name() if device != "cpu" else _cpu_name()
    return f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    has_bf16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    told = f" (bf16 in hardware: {', '.join(has_bf16) or 'no'})" if flags else ""
    return (name or platform.processor() or platform.machine()) + told


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def written_by(device: str = "cpu") -> str:
    """By which command, from which commit and where a section was written."""
    words = sys.argv[1:]
    if "--out" in words:
        del words[words.index("--out") : words.index("--out") + 2]
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])
    return f"Written by `{command}` at commit {source_commit()} on {machine(device)}."


def write_section(file: str | Path | None, heading: str, *parts: str) -> None:
    """Put a section (``## heading`` and paragraphs) into a page of results: in the place of the old one, or at the end.

    Without a ``file`` it is printed only.
    """
    section = "\n\n".join([f"## {heading}", *parts])
    if file is None:
        print(section, flush=True)
        return
    path = Path(file)
    text = path.read_text(encoding="utf-8") if path.exists() else "# Speed\n"
    first, *sections = ("\n" + text).split("\n## ")
    kept = [f"## {one.strip()}" for one in sections]
    place = next((i for i, one in enumerate(kept) if one.splitlines()[0] == f"## {heading}"), len(kept))
    kept[place : place + 1] = [section]
    path.write_text("\n\n".join([first.strip(), *kept]) + "\n", encoding="utf-8")
