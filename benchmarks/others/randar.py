"""Times the authors' RandAR as it is, for `benchmarks/decode.py --other`.

    python benchmarks/decode.py --other "authors=python benchmarks/others/randar.py /path/to/RandAR"

Whole decodes, one to warm up where there is time for several. `--dtype` takes another than the case's, such as the one
that its authors run it in. What it needs beside torch is in its own list of requirements.
"""

import argparse
import json
import os
import statistics
import sys
import time

import torch

SIZES = {"L": {"n_layer": 24, "n_head": 16, "dim": 1024}, "XL": {"n_layer": 36, "n_head": 20, "dim": 1280}}
ARITHMETIC = {"float16": "float32", "int8": "float32"}  # on the CPU these are dtypes of our weights

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("checkout", help="a checkout of its repository")
parser.add_argument("--dtype", help="default: that of the case")
arguments = parser.parse_args()
case = json.loads(os.environ["BENCH_CASE"])
if case["size"] not in SIZES or case["pixels"] != 256 or case["known"]:
    sys.exit(f"Not timed here: {case}")
sys.path.insert(0, arguments.checkout)
from RandAR.model.randar_gpt import RandARTransformer  # noqa: E402

if case.get("threads"):
    torch.set_num_threads(case["threads"])
dtype = getattr(torch, arguments.dtype or ARITHMETIC.get(case["dtype"], case["dtype"]))
device = torch.device(case["device"])
# As its configuration files have it.
model = RandARTransformer(
    **SIZES[case["size"]],
    model_type="c2i",
    vocab_size=16384,
    block_size=256,
    num_classes=1000,
    cls_token_num=1,
    resid_dropout_p=0.1,
    ffn_dropout_p=0.1,
    drop_path_rate=0.0,
    token_dropout_p=0.1,
    position_order="random",
    grad_checkpointing=True,
    zero_class_qk=True,
    num_inference_steps=88,
)
model = model.to(device, dtype).eval()


@torch.inference_mode()
def decode() -> float:
    began = time.perf_counter()
    model.generate(
        cond=torch.arange(case["batch"], device=device),
        token_order=None,
        cfg_scales=[1.0, 4.0],
        num_inference_steps=case["steps"],
        temperature=1.0,
        top_k=0,
        top_p=1.0,
    )
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - began


times = [decode()]
while len(times) <= case["repeats"] and sum(times) + times[-1] < 2 * case["limit"]:
    times.append(decode())
print(json.dumps({"seconds": statistics.median(times[1:] or times), "calls": case["steps"]}))
