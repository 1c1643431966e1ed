"""Times ARPG (arXiv 2503.10568), uncompiled, for `benchmarks/speed decode --other`.

    python benchmarks/speed decode --sizes ARPG-L --steps 64 \\
        --other "authors=python benchmarks/others/arpg.py /path/to/ARPG"

64 calls by the arccos schedule under constant guidance, as its README has it: next to this package's ARPG, or to RandAR
of the same size.
"""

import sys

import torch
from timing import parser, read_case, report


def main():
    words = parser(__doc__)
    words.add_argument("--calls", type=int, default=64)
    arguments = words.parse_args()
    case, device, dtype = read_case(("L", "XL", "ARPG-L", "ARPG-XL"), arguments.dtype)
    sys.path.insert(0, arguments.checkout)
    from models.arpg import ARPG_models

    name = f"ARPG-{case['size'].removeprefix('ARPG-')}"
    model = ARPG_models[name](vocab_size=16384, num_classes=1000).to(device, dtype).eval()
    settings = {"guidance_scale": 4.0, "cfg_schedule": "constant", "sample_schedule": "arccos", "temperature": 1.0}
    classes = torch.arange(case["batch"], device=device)
    report(case, lambda: model.generate(classes, num_iter=arguments.calls, **settings), arguments.calls)


if __name__ == "__main__":
    main()
