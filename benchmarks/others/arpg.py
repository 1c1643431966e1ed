"""Times ARPG (arXiv 2503.10568) as it is, for `benchmarks/decode.py --other`: as many calls as its authors take, 64.

    python benchmarks/decode.py --other "ARPG=python benchmarks/others/arpg.py /path/to/ARPG"

As its own script for sampling calls it. Whole decodes, one to warm up where there is time for several.
"""

import argparse
import json
import os
import statistics
import sys
import time

import torch

ARITHMETIC = {"float16": "float32", "int8": "float32"}  # on the CPU these are dtypes of our weights

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("checkout", help="a checkout of its repository")
parser.add_argument("--calls", type=int, default=64)
parser.add_argument("--dtype", help="default: that of the case")
arguments = parser.parse_args()
case = json.loads(os.environ["BENCH_CASE"])
if case["size"] not in ("L", "XL") or case["pixels"] != 256 or case["known"]:
    sys.exit(f"Not timed here: {case}")
sys.path.insert(0, arguments.checkout)
from models.arpg import ARPG_models  # noqa: E402

if case.get("threads"):
    torch.set_num_threads(case["threads"])
dtype = getattr(torch, arguments.dtype or ARITHMETIC.get(case["dtype"], case["dtype"]))
device = torch.device(case["device"])
model = ARPG_models[f"ARPG-{case['size']}"](vocab_size=16384, num_classes=1000).to(device, dtype).eval()


@torch.inference_mode()
def decode() -> float:
    began = time.perf_counter()
    model.generate(
        torch.arange(case["batch"], device=device),
        guidance_scale=4.5,
        temperature=1.0,
        num_iter=arguments.calls,
        cfg_schedule="constant",
        sample_schedule="arccos",
    )
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - began


times = [decode()]
while len(times) <= case["repeats"] and sum(times) + times[-1] < 2 * case["limit"]:
    times.append(decode())
print(json.dumps({"seconds": statistics.median(times[1:] or times), "calls": arguments.calls}))
