import subprocess
import sys

FAULTS = """
import resource
import sys
from frontend_api.allocator import keep_freed_memory

if sys.argv[1:]:
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    buffers = [bytearray(size) for size in (30_000_000, 4_500_000, 4_500_000)]
    del buffers

work()
before = faults()
for _ in range(10):
    work()
print(faults() - before)
"""


def faults(*arguments):
    run = subprocess.run([sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, check=True)
    return int(run.stdout)


def test_freed_memory_is_not_fetched_from_the_kernel_again():
    assert faults("keep") < 0.2 * faults()
