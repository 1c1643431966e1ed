"""Times the authors' RandAR, uncompiled, for `benchmarks/speed decode --other`.

    python benchmarks/speed decode --other "authors=python benchmarks/others/randar.py /path/to/RandAR"

In the sizes L and XL of its configuration files, with random weights.
"""

import sys

import torch
from timing import parser, read_case, report

SIZES = {"L": {"n_layer": 24, "n_head": 16, "dim": 1024}, "XL": {"n_layer": 36, "n_head": 20, "dim": 1280}}


def main():
    arguments = parser(__doc__).parse_args()
    case, device, dtype = read_case(tuple(SIZES), arguments.dtype)
    sys.path.insert(0, arguments.checkout)
    from RandAR.model.randar_gpt import RandARTransformer

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
    settings = {"cfg_scales": [1.0, 4.0], "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    classes = torch.arange(case["batch"], device=device)
    report(
        case,
        lambda: model.generate(cond=classes, token_order=None, num_inference_steps=case["steps"], **settings),
        case["steps"],
    )


if __name__ == "__main__":
    main()
