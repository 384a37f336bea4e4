"""PyTorch beside other tests."""

import os

import torch

# On a busy machine more threads wait for each other longer than they compute.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
