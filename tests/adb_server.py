"""A stand-in for an Android phone: speaks adb's wire protocol on a loopback port, for the real `adb connect`.

It offers no features, so that adb uses the oldest protocol: `shell:` without exit status, `sync:` with STAT, SEND,
DATA, DONE. Its commands are run by the host's `sh` in a folder that stands for the phone's file system, with `getprop`,
`dumpsys` and `taskset` that answer as recorded from phones; a pushed ELF file becomes a script that prints what
benchmark_model prints. See `Phone`'s arguments for what can go wrong.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

CNXN, OPEN, OKAY, WRTE, CLSE, AUTH = (int.from_bytes(name, "little") for name in
                                      (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE", b"AUTH"))  # fmt: skip
VERSION, MAXIMUM_DATA = 0x01000000, 4096

PROPERTIES = {
    "ro.board.platform": "kalama",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.hardware": "qcom",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.product.manufacturer": "samsung",
    "ro.product.model": "SM-S911B",
    "ro.soc.model": "SM8550",
}
CORE_KHZ = [2016000] * 3 + [2803200] * 4 + [3360000]

THERMAL_SERVICE = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 1
\tkilled: false
\tbroadcasts count: -1
ThermalStatusListeners:
\tcallbacks: 4
\tkilled: false
\tbroadcasts count: -1
Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=99.0, mType=0, mName=AP, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{mValue=41.5, mType=0, mName=AP, mStatus=0}
\tTemperature{mValue=33.8, mType=2, mName=BAT, mStatus=0}
\tTemperature{mValue=34.7, mType=3, mName=SKIN, mStatus=0}
\tTemperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}
\tTemperature{mValue=0.0, mType=4, mName=USB, mStatus=0}
Current cooling devices from HAL:
Temperature static thresholds from HAL:
"""
BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  Max charging current: 0
  status: 3
  health: 2
  present: true
  level: 76
  scale: 100
  voltage: 4012
  temperature: 301
  technology: Li-ion
"""
USAGE = """\
ERROR: usage: ./benchmark_model <flags>
Flags:
\t--num_runs=50                \tint32\toptional\texpected number of runs, see also min_secs, max_secs
\t--use_caching=false          \tbool\toptional\tEnable caching of prepacked weights matrices
\t--graph=                     \tstring\trequired\tgraph file name
\t--use_gpu=false              \tbool\toptional\tuse gpu
\t--use_nnapi=false            \tbool\toptional\tuse nnapi delegate api
\t--use_xnnpack=false          \tbool\toptional\texplicitly apply the XNNPACK delegate. Note the XNNPACK delegate
"""
START = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [0.tflite]
INFO: Loaded model 0.tflite
INFO: Initialized TensorFlow Lite runtime.
"""


def _replaced(taken: int, nodes: int, delegate: str, partitions: int) -> str:
    return (
        f"VERBOSE: Replacing {taken} out of {nodes} node(s) with delegate ({delegate}) node, "
        f"yielding {partitions} partitions for subgraph 0.\n"
    )


_XNNPACK = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
CPU = START + _XNNPACK + _replaced(49, 49, "TfLiteXNNPackDelegate", 1)
GPU = (
    START
    + "INFO: Created TensorFlow Lite delegate for GPU.\nINFO: GPU delegate created.\n"
    + _replaced(47, 49, "TfLiteGpuDelegateV2", 2)
    + "INFO: Initialized OpenCL-based API.\nINFO: Created 2 GPU delegate kernels.\n"
    + "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate "
    + "w/ 2 delegate kernels.\n"
    + _XNNPACK
    + _replaced(2, 4, "TfLiteXNNPackDelegate", 1)
)
NNAPI_IGNORED = (
    START
    + "INFO: Created TensorFlow Lite delegate for NNAPI.\nINFO: NNAPI delegate created.\n"
    + "INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
    + _XNNPACK
    + _replaced(49, 49, "TfLiteXNNPackDelegate", 1)
)
GPU_REFUSED = (
    START
    + """\
INFO: Created TensorFlow Lite delegate for GPU.
INFO: GPU delegate created.
ERROR: Following operations are not supported by GPU delegate:
GATHER_ND: Operation is not supported.
UNPACK: Operation is not supported.
40 operations will run on the GPU, and the remaining 9 operations will run on the CPU.
ERROR: TfLiteGpuDelegate Init: No shader implementation for transpose
ERROR: Failed to apply GPU delegate.
ERROR: Benchmarking failed.
"""
)
TIMES = """\
INFO: The input model file size (MB): 0.427
INFO: Initialized session in 102.32ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=6700{percentiles}

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=5912 curr=9171 min=5023 max=22706 avg={mean} std=325{run_percentiles}

INFO: Inference timings in us: Init: 102320, First inference: 6700, Warmup (avg): 6700, Inference (avg): {mean}
INFO: Memory footprint delta from the start of the tool (MB): init=8.0977 overall=9.2031
"""


def times(mean: int, percentiles: bool = True) -> str:
    """The end of a run's output; old binaries print no percentiles."""
    return TIMES.format(
        mean=mean,
        percentiles=" p5=6700 median=6700 p95=6700" if percentiles else "",
        run_percentiles=f" p5=5026 median={mean - 1000} p95=13732" if percentiles else "",
    )


def outputs(**changes: tuple[int, str, float]) -> dict[str, tuple[int, str, float]]:
    """What benchmark_model does for each delegate: exit status, output, seconds."""
    usual = {
        "cpu": (0, CPU + times(6994), 0),
        "gpu": (0, GPU + times(3093), 0),
        "nnapi": (0, NNAPI_IGNORED + times(6999), 0),
    }
    return {**usual, **changes}


class Phone:
    """One phone on `port` of 127.0.0.1, its files under `root`. Close it when done.

    state       "device"; "unauthorized" rejects every key; "offline" takes the connection and says nothing
    benchmarks  what a run prints, by delegate (see `outputs`)
    push_error  what the phone answers to every SEND, such as "No space left on device"
    vanish_at   the connection and the port close when a command contains this
    silent_at   a command that contains this is never answered
    usb         its battery is being charged
    """

    def __init__(
        self,
        root: Path,
        state="device",
        properties=PROPERTIES,
        benchmarks=None,
        push_error=None,
        vanish_at=None,
        silent_at=None,
        usb=True,
    ):
        self.root, self.state, self.push_error = root, state, push_error
        self.vanish_at, self.silent_at = vanish_at, silent_at
        self.commands: list[str] = []
        self._connections: list[socket.socket] = []
        self._processes: list[subprocess.Popen] = []
        self._benchmarks = outputs() if benchmarks is None else benchmarks
        self._make_files(properties, usb)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Vanish."""
        for open_socket in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()

    @property
    def leftovers(self) -> list[str]:
        """What lies in /data/local/tmp."""
        return [path.name for path in (self.root / "data/local/tmp").iterdir()]

    def idle(self, seconds: float = 10) -> bool:
        """Whether every command has ended, now or within `seconds`."""
        deadline = time.monotonic() + seconds
        while busy := any(process.poll() is None for process in self._processes):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return not busy

    def _make_files(self, properties: dict, usb: bool) -> None:
        battery, zones, tools = (
            self.root / name for name in ("sys/class/power_supply/battery", "sys/class/thermal", "bin")
        )
        files = {
            battery / "status": "Charging" if usb else "Discharging",
            battery / "current_now": "-850000",
            battery / "voltage_now": "4000000",
            zones / "thermal_zone0/type": "cpu-0-0",
            zones / "thermal_zone0/temp": "45200",
            zones / "thermal_zone1/type": "gpuss-0",
            zones / "thermal_zone1/temp": "39100",
            zones / "thermal_zone2/type": "modem-lte-sub6-pa1",
            zones / "thermal_zone2/temp": "-273000",
        }
        cores = self.root / "sys/devices/system/cpu"
        files |= {cores / f"cpu{n}/cpufreq/cpuinfo_max_freq": str(khz) for n, khz in enumerate(CORE_KHZ)}
        programs = {
            "getprop": "\n".join(f"[{name}]: [{value}]" for name, value in properties.items()) + "\n",
            "dumpsys-thermalservice": THERMAL_SERVICE,
            "dumpsys-battery": BATTERY.format(usb=str(usb).lower()),
        }
        files |= {tools / name: f"printf %s {shlex.quote(text)}" for name, text in programs.items()}
        files[tools / "dumpsys"] = "exec dumpsys-$1"
        files[tools / "taskset"] = 'shift; exec "$@"'
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{text}\n" if path.parent == tools else f"{text}\n")
            path.chmod(0o755)
        (self.root / "data/local/tmp").mkdir(parents=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """The messages of one adb server, each passed to the thread of its stream."""
        streams: dict[int, queue.Queue] = {}
        lock = threading.Lock()

        def send(command: int, first: int, second: int, data: bytes = b"") -> None:
            header = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
            with lock:
                connection.sendall(header + data)

        with contextlib.suppress(OSError):
            while header := _exactly(connection, 24):
                command, first, second, length, _, magic = struct.unpack("<6I", header)
                assert magic == command ^ 0xFFFFFFFF
                data = _exactly(connection, length)
                if self.state == "offline":
                    continue
                if self.state == "unauthorized":
                    if first != 3:  # after the public key a phone asks its user, who does not answer
                        send(AUTH, 1, 0, os.urandom(20))
                elif command == CNXN:
                    send(CNXN, VERSION, MAXIMUM_DATA, b"device::ro.product.name=standin;ro.product.model=standin;\0")
                elif command == OPEN:
                    number = len(streams) + 1
                    streams[number] = queue.Queue()
                    stream = _Stream(number, first, streams[number], send)
                    send(OKAY, number, first)
                    service = data.rstrip(b"\0").decode()
                    handler = self._sync if service.startswith("sync:") else self._shell
                    threading.Thread(target=_guarded, args=[handler, stream, service], daemon=True).start()
                elif second in streams:
                    if command == WRTE:
                        send(OKAY, second, first)
                    streams[second].put((command, data))

    def _shell(self, stream: _Stream, service: str) -> None:
        command = service.removeprefix("shell:")
        self.commands.append(command)
        if self.vanish_at and self.vanish_at in command:
            self.close()
            return
        if self.silent_at and self.silent_at in command:
            return
        for folder in ("/data/local/tmp", "/sys/"):
            command = command.replace(folder, f"{self.root}{folder}")
        environment = {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"}
        with subprocess.Popen(
            ["sh", "-c", command], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            self._processes.append(process)
            while data := process.stdout.read1(MAXIMUM_DATA):
                stream.write(data)
        stream.close()

    def _sync(self, stream: _Stream, service: str) -> None:
        while True:
            request, length = stream.request()
            if request == b"QUIT":
                stream.close()
                return
            name = stream.read(length).decode()
            if request == b"STAT":
                path = Path(f"{self.root}{name}")
                found = path.stat() if path.exists() else None
                stream.write(b"STAT" + struct.pack("<3I", *((found.st_mode, found.st_size, 0) if found else (0, 0, 0))))
            elif request == b"SEND":
                self._receive(stream, Path(f"{self.root}{name.rpartition(',')[0]}"))

    def _receive(self, stream: _Stream, path: Path) -> None:
        content = bytearray()
        while True:
            chunk, length = stream.request()
            if chunk == b"DONE":
                break
            content += stream.read(length)
        if self.push_error:
            stream.write(b"FAIL" + struct.pack("<I", len(self.push_error)) + self.push_error.encode())
            return
        path.write_bytes(self._emulator().encode() if content[:4] == b"\x7fELF" else content)
        stream.write(b"OKAY" + bytes(4))

    def _emulator(self) -> str:
        """The program that stands for benchmark_model: a shell script that tells the delegates apart."""
        cases = [f"*--help*) printf %s {shlex.quote(USAGE)}; exit 1;;"]
        names = sorted(self._benchmarks, key="cpu".__eq__)  # the CPU last: it has no flag
        for name in names:
            status, output, seconds = self._benchmarks[name]
            pattern = "*" if name == "cpu" else f"*--use_{name}=true*"
            # In short sleeps: killing the script must leave no process behind.
            wait = f"i=0; while [ $i -lt {round(10 * seconds)} ]; do sleep 0.1; i=$((i + 1)); done;"
            cases.append(f"{pattern}) {wait} printf %s {shlex.quote(output)}; exit {status};;")
        return '#!/bin/sh\ncase "$*" in\n' + "\n".join(cases) + "\nesac\n"


class _Stream:
    """One stream of a connection, seen from the phone."""

    def __init__(self, number: int, peer: int, messages: queue.Queue, send):
        self._number, self._peer, self._messages, self._send = number, peer, messages, send
        self._data = b""

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAXIMUM_DATA):
            self._send(WRTE, self._number, self._peer, data[start : start + MAXIMUM_DATA])
            while (message := self._messages.get(timeout=60))[0] != OKAY:
                self._take(message)

    def read(self, length: int) -> bytes:
        while len(self._data) < length:
            self._take(self._messages.get(timeout=60))
        data, self._data = self._data[:length], self._data[length:]
        return data

    def request(self) -> tuple[bytes, int]:
        return struct.unpack("<4sI", self.read(8))

    def close(self) -> None:
        self._send(CLSE, self._number, self._peer)

    def _take(self, message: tuple[int, bytes]) -> None:
        command, data = message
        if command == CLSE:
            raise ConnectionError("adb closed the stream")
        self._data += data


def _guarded(handler, *arguments) -> None:
    with contextlib.suppress(OSError, ValueError):  # the connection closed under it
        handler(*arguments)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            return b""
        data += part
    return data
