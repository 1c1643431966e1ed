"""Times the authors' LPD, uncompiled, for `benchmarks/speed decode --other`.

    python benchmarks/speed decode --sizes LPD-L --steps 20 \
        --other "authors=python benchmarks/others/lpd.py /path/to/lpd"

In float32, or under autocast as its evaluation does it. Its code names the device "cuda" in places: on the CPU take a
copy of the checkout in which that is replaced. Of its requirements the models need torch and timm alone.
"""

import contextlib
import json
import sys
from pathlib import Path

import torch
from timing import parser, read_case, report

FACTORIES = {"LPD-L": "lpd_l", "LPD-XL": "lpd_xl", "LPD-XXL": "lpd_xxl"}


def main():
    arguments = parser(__doc__).parse_args()
    case, device, dtype = read_case(tuple(FACTORIES), arguments.dtype)
    sys.path.insert(0, arguments.checkout)
    from models import lpd

    lookup = json.loads((Path(arguments.checkout) / "orders" / "group_sizes_lookup.json").read_text())
    sizes = lookup["256 resolution"][f"{case['steps']} steps"]
    batch, cells = case["batch"], sum(sizes)
    model = getattr(lpd, FACTORIES[case["size"]])(img_size=256).to(device).eval()
    model.enable_kv_cache(2 * batch, 1 + cells, device=device.type)
    # The class is a group of its own; a position sees groups up to its own.
    group = torch.arange(1 + len(sizes)).repeat_interleave(torch.tensor([1, *sizes]))
    unseen = group > group[:, None]
    settings = {
        "cfg": 4.8,
        "cfg_schedule": "linear",
        "labels": torch.arange(batch, device=device),
        "attn_mask": torch.zeros(unseen.shape).masked_fill(unseen, -torch.inf).to(device),
        "group_sizes": sizes,
        "orders": torch.stack([torch.randperm(cells) for _ in range(batch)]).to(device),
    }
    precision = contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
    with precision:
        report(case, lambda: model.sample_tokens(batch, **settings), len(sizes))


if __name__ == "__main__":
    main()
