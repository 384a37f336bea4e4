"""Serves ONNX models in tritonserver's Python backend, under the name ``onnxruntime``.

Runs inside Triton's stub process, not in ours: Triton imports it by its path, and it may import nothing of
this project. Model folders are those that Triton's C++ backend of the same name serves.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# The Python that Triton embeds ignores PYTHONPATH and knows no virtual environment.
sys.path[:0] = os.environ["PYTHONPATH"].split(":")

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import triton_python_backend_utils as triton  # noqa: E402

_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
}


class TritonPythonModel:
    """One instance of one version of a model."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Leave the configuration as it is: config.pbtxt says everything."""
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Load ``model.onnx`` of the version; what is wrong with it becomes Triton's reason for not loading."""
        config = json.loads(args["model_config"])
        # Before ONNX Runtime starts its threads: they inherit it.
        os.nice(int(_parameter(config, "nice") or 0))
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        try:
            there = path.is_file()
        except OSError as error:
            raise triton.TritonModelException(f"its folder can't be read: {error.strerror}") from None
        if not there:
            raise triton.TritonModelException("its folder holds no model.onnx")
        threads = int(_parameter(config, "intra_op_thread_count") or _physical_cores())
        self._pool = None
        try:
            self._session = onnxruntime.InferenceSession(path, _options(threads), providers=_providers(args))
            # Not what kind the instance is: a GPU that ONNX Runtime can't use leaves the work to the CPU.
            on_cpu = self._session.get_providers() == ["CPUExecutionProvider"]
            if on_cpu and threads > 1 and _parameter(config, "cpu_runs_side_by_side") == "true":
                self._single_threaded = onnxruntime.InferenceSession(path, _options(1), providers=_providers(args))
                self._pool = ThreadPoolExecutor(threads)
        except Exception as error:
            # ONNX Runtime names the file in full; who asks for the reason need not know where it lies.
            reason = str(error).replace(str(path), path.name)
            raise triton.TritonModelException(f"ONNX Runtime can't load its model.onnx: {reason}") from None
        # On a CPU more at once are no quicker each, and take memory in proportion.
        at_once = _parameter(config, "requests_per_cpu_run")
        self._at_once = int(at_once) if at_once and on_cpu else sys.maxsize
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]
        # Else its warm-up would fail, and tritonserver crashes where one does.
        _require_fit("input", self._session.get_inputs(), config["input"])
        _require_fit("output", self._session.get_outputs(), config["output"])

    def execute(self, requests: list[Any]) -> None:
        """Answer `requests`, which are the batch, in one run or a few, and each as soon as it is computed."""
        parts = [requests[first : first + self._at_once] for first in range(0, len(requests), self._at_once)]
        if self._pool and len(parts) > 1:
            # Threads that share a run wait for each other; one thread a run gives more answers on as many cores.
            answers = self._pool.map(lambda part: self._run(self._single_threaded, part), parts)
        else:
            answers = (self._run(self._session, part) for part in parts)
        for part, responses in zip(parts, answers, strict=True):
            for request, response in zip(part, responses, strict=True):
                request.get_response_sender().send(response, flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _run(self, session: onnxruntime.InferenceSession, requests: list[Any]) -> list[Any]:
        """Answer requests in one run: concatenate, run, split."""
        try:
            return self._answers(session, requests)
        except Exception as error:
            if len(requests) == 1:
                return [triton.InferenceResponse(error=triton.TritonError(str(error)))]
            # One of them must not spoil the answers to the others.
            return [answer for request in requests for answer in self._run(session, [request])]

    def _answers(self, session: onnxruntime.InferenceSession, requests: list[Any]) -> list[Any]:
        wanted = [set(request.requested_output_names()) for request in requests]
        outputs = [name for name in self._outputs if any(name in names for names in wanted)]
        inputs = [
            {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
            for request in requests
        ]
        feeds = {
            name: inputs[0][name] if len(inputs) == 1 else np.concatenate([tensors[name] for tensors in inputs])
            for name in self._inputs
        }
        results = dict(zip(outputs, session.run(outputs, feeds), strict=True))
        ends = np.cumsum([len(tensors[self._inputs[0]]) for tensors in inputs])
        return [
            triton.InferenceResponse(
                [triton.Tensor(name, results[name][end - len(tensors[self._inputs[0]]) : end]) for name in names]
            )
            for tensors, end, names in zip(inputs, ends, wanted, strict=True)
        ]


def _require_fit(kind: str, graph: list[Any], configured: list[dict[str, Any]]) -> None:
    """Raise an exception if the graph's tensors are not those that config.pbtxt promises."""
    found = {tensor.name: (_TYPES.get(tensor.type), [_known(size) for size in tensor.shape[1:]]) for tensor in graph}
    for tensor in configured:
        name, promised = tensor["name"], (tensor["data_type"], [int(size) for size in tensor["dims"]])
        if name not in found:
            raise triton.TritonModelException(f"its graph has no {kind} {name}, but {', '.join(found)}")
        kinds, sizes = (found[name][0], promised[0]), (found[name][1], promised[1])
        if (
            kinds[0] != kinds[1]
            or len(sizes[0]) != len(sizes[1])
            or any(-1 not in pair and pair[0] != pair[1] for pair in zip(*sizes, strict=True))
        ):
            raise triton.TritonModelException(f"its {kind} {name} is {found[name]}, but config.pbtxt says {promised}")


def _known(size: int | str | None) -> int:
    return size if isinstance(size, int) else -1


def _parameter(config: dict[str, Any], key: str) -> str | None:
    value: str | None = config.get("parameters", {}).get(key, {}).get("string_value")
    return value


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Encoder and decoder share the cores with the adapter: idle threads must not spin on them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _physical_cores() -> int:
    """Count the cores this process may use, two threads of one core as one."""
    topology = "/sys/devices/system/cpu/cpu{}/topology/core_cpus_list"
    cpus = os.sched_getaffinity(0)
    try:
        return len({Path(topology.format(cpu)).read_text() for cpu in cpus})
    except OSError:  # not every container shows it
        return len(cpus)


def _providers(args: dict[str, str]) -> list[Any]:
    if args["model_instance_kind"] == "GPU" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()  # CUDA's libraries, where they come from PyPI as well
        return [("CUDAExecutionProvider", {"device_id": args["model_instance_device_id"]}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
