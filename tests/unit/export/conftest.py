"""What export makes of the small SAM, opened."""

import onnxruntime
import torch

# On a busy machine more threads wait for each other longer than they compute.
torch.set_num_threads(2)


def open_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
