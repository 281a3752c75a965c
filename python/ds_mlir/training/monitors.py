"""Where the numbers of updates go besides `log.jsonl`: TensorBoard's event files and files of CSV, as DeepSpeed's monitors write them."""

import csv
import importlib.util
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from ds_mlir import errors
from ds_mlir.training.config import MonitorSettings

Event = tuple[str, float, int]  # tag, value, samples so far


def _unwritable(path: pathlib.Path, error: OSError) -> errors.CannotWrite:
    return errors.CannotWrite(f"cannot write '{path}': {(error.strerror or str(error)).lower()}")


class CsvMonitor:
    """A file for each tag in `output_path/job_name`, `Train/Samples/lr` in `Train_Samples_lr.csv`: samples and values. Lines are added.
    Args: settings, of the section `csv_monitor`.
    """

    def __init__(self, settings: MonitorSettings):
        self.folder = pathlib.Path(settings.output_path) / settings.job_name

    def rewind(self, samples: int) -> None:
        """Remove what was written after so many samples, as the run goes on from there.
        Raises: CannotWrite.
        """
        try:
            for path in self.folder.glob("*.csv"):
                lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
                kept = lines[:1] + [line for line in lines[1:] if line.split(",")[0].isdigit() and int(line.split(",")[0]) <= samples]
                part = path.with_suffix(".part")  # the file is whole until it is replaced
                part.write_text("".join(kept), encoding="utf-8")
                part.replace(path)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def write(self, events: Sequence[Event]) -> None:
        """Add events.
        Raises: CannotWrite.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for tag, value, samples in events:
                path = self.folder / f"{tag.replace('/', '_').replace(' ', '_')}.csv"
                is_new = not path.exists()
                with path.open("a", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    if is_new:
                        writer.writerow(["step", tag.split("/")[-1]])
                    writer.writerow([samples, value])
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def close(self) -> None:
        """Nothing is open between events."""


class TensorBoardMonitor:
    """Event files in `output_path/job_name`, which TensorBoard shows.
    Args: settings, of the section `tensorboard`.
    Raises: Unavailable without the package tensorboard.
    """

    def __init__(self, settings: MonitorSettings):
        self.folder = pathlib.Path(settings.output_path) / settings.job_name
        if importlib.util.find_spec("tensorboard") is None:
            raise errors.Unavailable("unavailable: tensorboard: event files need the package tensorboard, which is not installed")
        self._writer: Any = None

    def _open(self) -> Any:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._writer is None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._writer = EventFileWriter(os.fspath(self.folder))
            except OSError as error:
                raise _unwritable(self.folder, error) from error
        return self._writer

    def rewind(self, samples: int) -> None:
        """Tell TensorBoard to forget what came after so many samples, as the run goes on from there.
        Raises: CannotWrite.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # A session forgets what is at its step and behind.
        start = Event(wall_time=time.time(), step=samples + 1, session_log=SessionLog(status=SessionLog.START))
        self._open().add_event(start)

    def write(self, events: Sequence[Event]) -> None:
        """Add events.
        Raises: CannotWrite.
        """
        from tensorboard.compat.proto import event_pb2
        from tensorboard.compat.proto.summary_pb2 import Summary

        writer = self._open()
        try:
            for tag, value, samples in events:
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                writer.add_event(event_pb2.Event(wall_time=time.time(), step=samples, summary=summary))
            writer.flush()
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def make_monitors(tensorboard: MonitorSettings | None, csv_monitor: MonitorSettings | None) -> list[CsvMonitor | TensorBoardMonitor]:
    """The monitors of a configuration; None for those that are off."""
    made: list[CsvMonitor | TensorBoardMonitor] = []
    if tensorboard is not None:
        made.append(TensorBoardMonitor(tensorboard))
    if csv_monitor is not None:
        made.append(CsvMonitor(csv_monitor))
    return made
