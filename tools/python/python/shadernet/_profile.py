"""A trace of the runs of a session."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any


class Profile:
    """Collects runs and their dispatches as events of Chrome's trace format, in microseconds."""

    def __init__(self, prefix: str) -> None:
        self.start = time.monotonic_ns()
        self._path = f"{prefix}{time.strftime('%Y-%m-%d_%H-%M-%S')}.json"
        self._events: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def run(self) -> Iterator[list[tuple[str, str, float, float]]]:
        """Times a run, whose dispatches the caller adds: kernel, node, start on the device, duration."""
        dispatches: list[tuple[str, str, float, float]] = []
        begin = time.monotonic_ns()
        yield dispatches
        end = time.monotonic_ns()
        ts = (begin - self.start) / 1e3
        self._event("Session", "model_run", "host", ts, (end - begin) / 1e3, {})
        for kernel, node, start, duration in dispatches:
            self._event("Node", kernel, "device", ts + start, duration, {"node": node})

    def _event(self, cat: str, name: str, tid: str, ts: float, dur: float, args: dict[str, str]) -> None:
        where = threading.get_ident() if tid == "host" else 0
        event = {"cat": cat, "name": name, "ph": "X", "pid": os.getpid(), "tid": where, "ts": ts, "dur": dur}
        self._events.append({**event, "args": args})

    def write(self) -> str:
        """Writes the events and gives the file's name."""
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump(self._events, file)
        return self._path
