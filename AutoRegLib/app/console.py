"""What a person sees in the terminal: progress while it runs (stderr), the result at the end (stdout)."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from AutoRegLib.core.errors import CancelledError
from AutoRegLib.core.fit import MEANING
from AutoRegLib.core.jobs import Monitor, Wish
from AutoRegLib.core.measures import MEASURES, VALIDATION

QUIET_SECONDS = 2.0  # nothing shorter than this gets a progress display
LINE_SECONDS = 10.0  # between two plain progress lines


def warn(text: str) -> None:
    """A line to stderr."""
    print(text, file=sys.stderr, flush=True)


class ConsoleMonitor(Monitor):
    """Progress in words, or as a bar when stderr is a terminal; Ctrl-C and SIGTERM become wishes.

    ``can_finish``: the first Ctrl-C stops early and keeps what there is so far; otherwise it cancels.
    """

    def __init__(self, *, quiet: bool = False, can_finish: bool = False) -> None:
        self.quiet = quiet
        self.can_finish = can_finish
        self.stopped = False
        self._wish: Wish = ""
        self._began = time.monotonic()
        self._spoke = self._began
        self._stage = ""
        self._figures: dict[str, float] = {}
        self._bar: Any = None if quiet or not sys.stderr.isatty() else _rich_bar()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> ConsoleMonitor:
        if threading.current_thread() is threading.main_thread():
            for number, handler in ((signal.SIGINT, self._interrupted), (signal.SIGTERM, self._terminated)):
                self._handlers[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *problem: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._bar is not None:
            self._bar.stop()

    def event(self, type: str, **payload: Any) -> None:
        show: Callable[..., None] | None = getattr(self, f"_on_{type}", None)
        if show is not None:
            show(**payload)

    def wish(self) -> Wish:
        return self._wish

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        first, self.stopped = not self.stopped, True
        if self.can_finish and first:
            self._wish = "finish"
            self._say("Stopping after this step and keeping what there is so far. Ctrl-C again cancels.")
        elif self.can_finish and self._wish == "finish":
            self._wish = "cancel"
            self._say("Cancelling; what is finished is kept.")
        else:
            raise CancelledError("stopped by the user")

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        first, self.stopped = not self.stopped, True
        self._wish = "cancel"
        if not (self.can_finish and first):  # these keep a checkpoint, the others have nothing to keep
            raise CancelledError("stopped from outside")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            warn(text)

    def _on_stage(self, name: str = "", index: int = 0, count: int = 1, **more: Any) -> None:
        self._stage, self._figures = name, {}
        self._began = self._spoke = time.monotonic()
        if self._bar is not None:
            self._bar.reset(name)
        elif not self.quiet:
            warn(f"{name} ({index + 1}/{count}) ..." if count > 1 else f"{name} ...")

    def _on_progress(self, done: float = 0, total: float = 1, eta_s: float | None = None, **more: Any) -> None:
        now = time.monotonic()
        if self.quiet or now - self._began < QUIET_SECONDS:
            return
        figures = "  ".join(f"{name} {value:.4g}" for name, value in self._figures.items())
        left = "" if eta_s is None else f"{readable_seconds(eta_s)} left"
        if self._bar is not None:
            self._bar.show(self._stage, done, total, f"{left}  {figures}")
        elif now - self._spoke >= LINE_SECONDS:
            self._spoke = now
            parts = [f"  {self._stage}: {100 * done / max(total, 1e-9):.0f} %", left, figures]
            warn(", ".join(part for part in parts if part))

    def _on_metric(self, name: str = "", value: Any = None, **more: Any) -> None:
        if isinstance(value, (int, float)) and name in (*VALIDATION, "val_folds", "loss", "dice"):
            self._figures[name.removeprefix("val_")] = value

    def _on_warning(self, text: str = "", **more: Any) -> None:
        self._say(f"warning: {text}")


def _rich_bar() -> Any:
    """A progress bar on stderr, or None where rich is not installed (plain lines are shown then)."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    except ImportError:
        return None

    class Bar(Progress):
        """One line at a time: the running stage."""

        def __init__(self) -> None:
            super().__init__(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._line: Any = None

        def reset(self, name: str) -> None:  # type: ignore[override]
            if self._line is not None:
                self.remove_task(self._line)
                self._line = None
            self.console.print(f"{name} ...", highlight=False, markup=False)

        def show(self, name: str, done: float, total: float, note: str) -> None:
            if self._line is None:
                self.start()
                self._line = self.add_task(name, total=total, note=note)
            self.update(self._line, completed=done, total=total, note=note)

    return Bar()


def readable_seconds(seconds: float) -> str:
    """``75`` as ``1:15``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def show_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """The result as one JSON object on stdout and nothing else."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def show_result(verb: str, result: Mapping[str, Any]) -> None:
    """The result for a person."""
    for line in result_lines(verb, result):
        print(line, flush=True)


def result_lines(verb: str, result: Mapping[str, Any]) -> list[str]:
    """The result in words: measures first, before and after side by side; then every other value a line."""
    fit = result.get("fit")
    lines = [] if not isinstance(fit, Mapping) else [
        f"{'fit':24s} {str(fit['verdict']).upper()}: {MEANING[fit['verdict']]}",
        *(f"  {reason['light']:22s} {reason['text']}" for reason in fit["reasons"])]
    told = {measure.before for measure in MEASURES.values()}
    for name, measure in MEASURES.items():
        after, before = _mean(result.get(name)), _mean(result.get(measure.before))
        if after is not None and name not in told:
            start = "" if before is None else f"{measure.text(before)} -> "
            lines.append(f"{measure.title:24s} {start}{measure.text(after)}")
    for name, value in result.items():
        if isinstance(value, bool) or value is None or name in MEASURES:
            continue
        if isinstance(value, float):
            lines.append(f"{name.replace('_', ' '):24s} {value:.4g}")
        elif isinstance(value, (int, str)) and str(value):
            lines.append(f"{name.replace('_', ' '):24s} {value}")
        elif name in ("genotype", "loss_weights") and isinstance(value, Mapping):
            lines.append(f"{name.replace('_', ' ')}:")
            lines += [f"  {key.replace('_', ' '):22s} {_plain(item)}" for key, item in value.items()]
    return lines


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Rows as aligned text under a line of column names."""
    cells = [
        [name.replace("_", " ") for name in columns],
        *([_plain(row.get(name, "")) for name in columns] for row in rows),
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _mean(value: Any) -> float | None:
    """The mean of a measurement given as a number or per structure."""
    if isinstance(value, Mapping):
        value = value.get("mean")
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return " ".join(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items() if not isinstance(item, Mapping))
    return str(value)
