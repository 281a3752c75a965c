"""The sides of a comparison as processes: one each, in the environment of the side, stopped while another one measures."""

import json
import os
import pathlib
import select
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / "build" / "peers"
LIMIT_SECONDS = 900  # for one request; compiling a model for a peer is the longest


class Failed(RuntimeError):
    """A side that cannot take part: what it said."""


def interpreter(environment):
    """Return the Python of a side's environment, or None when it is not installed."""
    python = (ROOT / "build" / "venv" if environment == "ours" else PEERS / environment) / "bin" / "python"
    return python if python.exists() else None


class Worker:
    """A process of peers/worker.py."""

    def __init__(self, side, threads):
        self.process = None
        python = interpreter(side["environment"])
        if python is None:
            raise Failed(f"not installed: run benchmarks/peers/install.py {side['environment']}")
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        if side["environment"] == "ours":
            variables["PYTHONPATH"] = str(ROOT / "build" / "release" / "python")
        PEERS.joinpath("logs").mkdir(parents=True, exist_ok=True)
        self.log = PEERS / "logs" / f"side-{side['module'].replace(':', '-')}-{threads}.log"
        command = [str(python), str(ROOT / "benchmarks" / "peers" / "worker.py"), side["module"], str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.log.open("w")}
        self.process = subprocess.Popen(command, env=variables, **pipes)
        self.stop()

    def stop(self):
        """Take the processor from it, whatever its idle threads do."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def close(self):
        """End the process."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, **request):
        """Send a request and return the reply.
        Raises: Failed with what the side says, or that it ended or took too long; then it is closed.
        """
        os.kill(self.process.pid, signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line, end = b"", time.monotonic() + LIMIT_SECONDS
            while not line.endswith(b"\n"):
                ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
                part = os.read(self.process.stdout.fileno(), 1 << 16) if ready else None
                if not part:
                    self.close()
                    raise Failed(f"took more than {LIMIT_SECONDS} s" if part is None else f"ended with status {self.process.wait()}")
                line += part
        except BrokenPipeError:
            self.close()
            raise Failed(f"ended with status {self.process.returncode}") from None
        self.stop()
        reply = json.loads(line)
        if "unserved" in reply or "error" in reply:
            raise Failed(reply.get("unserved") or reply["error"])
        return reply


class Workers:
    """The processes of one number of threads, started when they are needed."""

    def __init__(self, threads):
        self.threads, self.running = threads, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.running.values():
            worker.close()

    def get(self, side, copy=0):
        """Return the process of a side; a side that measures several things at once has several copies."""
        key = (side["module"], copy)
        if key in self.running and self.running[key].process.poll() is not None:
            self.running.pop(key).close()
        if key not in self.running:
            self.running[key] = Worker(side, self.threads)
        return self.running[key]


class OtherWork:
    """Counts the processor time that was taken while we measured, by others than the workers and this process.
    `share` is in processors: 0.5 is half of one.
    """

    def __init__(self, workers):
        self.workers = workers

    def seconds(self):
        tick = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, interrupt, soft, steal = map(int, pathlib.Path("/proc/stat").read_text().split(None, 9)[1:9])
        own = sum(os.times()[:2])
        for worker in self.workers.running.values():
            if worker.process.poll() is None:
                fields = pathlib.Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
                own += (int(fields[11]) + int(fields[12])) / tick
        return time.monotonic(), (user + nice + system + interrupt + soft + steal) / tick - own

    def __enter__(self):
        self.began = self.seconds()
        return self

    def __exit__(self, *_):
        ended = self.seconds()
        self.share = max(0.0, (ended[1] - self.began[1]) / max(1e-3, ended[0] - self.began[0]))
