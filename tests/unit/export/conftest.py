"""PyTorch beside other tests."""

import torch

# On a busy machine more threads wait for each other longer than they compute.
torch.set_num_threads(2)
