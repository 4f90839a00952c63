"""Every model of conf/model beside the same model of FuxiCTR: samples per second in training and in evaluation.

    python benchmarks/bench_models.py --fuxictr CHECKOUT --python PEER/bin/python [--models fm,edcn] [--json FILE]
    python benchmarks/bench_models.py --fuxictr CHECKOUT --python PEER/bin/python --fcn CHECKOUT --models fcn,ecn

FCN and ECN are those of github.com/salmon1802/FCN, written for FuxiCTR.

The Criteo setting (39 fields, D 16, 1,327,180 drawn ids of realistic skew, batch 1024, Adam), layers as conf/model
has them on both sides, weight decay and FuxiCTR's regularisers off. Each pair alternates in one run, each side in a
process of its own that stays, FuxiCTR's as installed. It takes the steps and the evaluation of its own BaseModel over
batches in memory, ours the whole loop. PEER is an environment with FuxiCTR, e.g. the one that bench_peers.py makes.

``--ids 50000`` makes the tables small: then the models' own arithmetic is compared, not their optimizers.
``python -m eulernet.reproduce table=efficiency`` measures ours alone, on real data.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alternating import (
    ROOT,
    Contestant,
    Worker,
    WorkerError,
    contest,
    machine,
    make_store,
    markdown,
    split_of,
    started,
)  # fmt: skip

HIDDEN, RATE, DIM = [400, 400, 400], 0.1, 16
WIDE = dict(embedding_dim=DIM)
DEEP = WIDE | dict(hidden_units=HIDDEN, net_dropout=RATE)
DNN = WIDE | dict(dnn_hidden_units=HIDDEN, net_dropout=RATE)
ATTENTION = dict(attention_layers=3, num_heads=2, attention_dim=32, net_dropout=RATE)
AFN = WIDE | dict(logarithmic_neurons=400, afn_hidden_units=HIDDEN, afn_dropout=RATE, dnn_dropout=RATE)
MASK = WIDE | dict(dnn_hidden_units=HIDDEN, net_dropout=RATE, reduction_ratio=1.0)
EULER = WIDE | dict(shape=[39, 39], net_ex_dropout=0.1, net_im_dropout=0.2, layer_norm=True)
EULER_OURS = ["model.orders=[39,39]", "model.drop_explicit=.1", "model.drop_implicit=.2", "model.norm=true"]

# conf/model's name: FuxiCTR's file in model_zoo, class and settings. cross_check.py shows that they compute the same;
# what it takes for that (dropout elsewhere, a bias or a residual more) changes no product. Two are other models: PNN,
# whose first hidden layer stands for our product layer, of equal work, and Fi-GNN, which lacks our self-attention.
PAIRS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lr": ("LR/src/LR.py", "LR", {}),
    "fm": ("FM/src/FM.py", "FM", WIDE),
    "fwfm": ("FwFM/src/FwFM.py", "FwFM", WIDE),
    "fmfm": ("FmFM/src/FmFM.py", "FmFM", WIDE),
    "ffm": ("FFM/src/FFMv2.py", "FFMv2", dict(embedding_dim=4)),
    "afm": ("AFM/src/AFM.py", "AFM", WIDE | dict(attention_dim=16, attention_dropout=[RATE, 0])),
    "hofm": ("HOFM/src/HOFM.py", "HOFM", WIDE | dict(order=3)),
    "nfm": ("NFM/src/NFM.py", "NFM", DEEP),
    "dnn": ("DNN/DNN_torch/src/DNN.py", "DNN", DEEP),
    "wide_deep": ("WideDeep/WideDeep_torch/src/WideDeep.py", "WideDeep", DEEP),
    "deepfm": ("DeepFM/DeepFM_torch/src/DeepFM.py", "DeepFM", DEEP),
    "ipnn": ("PNN/src/PNN.py", "PNN", DEEP | dict(hidden_units=[400, *HIDDEN])),
    "dcn": ("DCN/DCN_torch/src/DCN.py", "DCN", DNN | dict(num_cross_layers=3)),
    "dcnv2": ("DCNv2/src/DCNv2.py", "DCNv2", WIDE | dict(parallel_dnn_hidden_units=HIDDEN, net_dropout=RATE)),
    "dcnv2_stacked": (
        "DCNv2/src/DCNv2.py", "DCNv2",
        WIDE | dict(model_structure="stacked", stacked_dnn_hidden_units=HIDDEN, net_dropout=RATE),
    ),
    "crossnet": ("DCNv2/src/DCNv2.py", "DCNv2", WIDE | dict(model_structure="crossnet_only")),
    "xdeepfm": ("xDeepFM/src/xDeepFM.py", "xDeepFM", DNN | dict(cin_hidden_units=[16, 16, 16])),
    "cin": ("xDeepFM/src/xDeepFM.py", "xDeepFM", WIDE | dict(dnn_hidden_units=None, cin_hidden_units=[16, 16, 16])),
    "autoint": ("AutoInt/src/AutoInt.py", "AutoInt", WIDE | ATTENTION | dict(dnn_hidden_units=None)),
    "autoint_plus": ("AutoInt/src/AutoInt.py", "AutoInt", WIDE | ATTENTION | dict(dnn_hidden_units=HIDDEN)),
    "afn": ("AFN/src/AFN.py", "AFN", AFN | dict(ensemble_dnn=False)),
    "afn_plus": ("AFN/src/AFN.py", "AFN", AFN | dict(ensemble_dnn=True, dnn_hidden_units=HIDDEN)),
    "fibinet": ("FiBiNET/src/FiBiNET.py", "FiBiNET", DEEP),
    "fignn": ("FiGNN/src/FiGNN.py", "FiGNN", WIDE | dict(reuse_graph_layer=True)),
    "deepim": ("DeepIM/src/DeepIM.py", "DeepIM", DEEP | dict(im_order=3)),
    "im": ("DeepIM/src/DeepIM.py", "DeepIM", WIDE | dict(im_order=3, hidden_units=None)),
    "finalmlp": (
        "FinalMLP/src/FinalMLP.py", "FinalMLP",
        WIDE | dict(mlp1_hidden_units=HIDDEN, mlp2_hidden_units=[400], mlp1_dropout=RATE, mlp2_dropout=RATE,
                    num_heads=10),
    ),
    "finalnet": (
        "FinalNet/src/FinalNet.py", "FinalNet",
        WIDE | dict(use_feature_gating=True, block1_hidden_units=HIDDEN, block2_hidden_units=[400],
                    block1_dropout=RATE, block2_dropout=RATE),
    ),
    "masknet_serial": ("MaskNet/src/MaskNet.py", "MaskNet", MASK),
    "masknet_parallel": (
        "MaskNet/src/MaskNet.py", "MaskNet", MASK | dict(model_type="ParallelMaskNet", parallel_num_blocks=3)
    ),
    "gdcn_stacked": ("GDCN/src/GDCN.py", "GDCN", DNN),
    "gdcn_parallel": ("GDCN/src/GDCN.py", "GDCNP", DNN),
    "edcn": ("EDCN/src/EDCN.py", "EDCN", WIDE | dict(net_dropout=RATE)),
    "dlrm": ("DLRM/src/DLRM.py", "DLRM", WIDE | dict(top_mlp_units=HIDDEN, top_mlp_dropout=RATE)),
    "qnn_alpha": ("QNN/src/QNN_alpha.py", "QNN_alpha", WIDE | dict(num_layers=3, num_row=2, net_dropout=RATE)),
    "wukong": (
        "WuKong/src/WuKong.py", "WuKong",
        WIDE | dict(lcb_features=8, fmb_features=8, fmb_mlp_units=[128], mlp_hidden_units=[128], mlp_batch_norm=False,
                    net_dropout=RATE),
    ),
    "fcn": ("src/DCNv3.py", "DCNv3", WIDE),
    "ecn": ("src/ECN.py", "ECN", WIDE | dict(num_cross_layers=4, net_dropout=RATE)),
    "eulernet_fuxictr": ("EulerNet/src/EulerNet.py", "EulerNet", EULER),
}  # fmt: skip
FCN = ("fcn", "ecn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuxictr", type=Path, metavar="CHECKOUT", required=True)
    parser.add_argument("--python", type=Path, required=True, help="an interpreter that has FuxiCTR")
    parser.add_argument("--fcn", type=Path, metavar="CHECKOUT", help="of github.com/salmon1802/FCN, for fcn and ecn")
    parser.add_argument("--models", help="names of conf/model, with commas (default: all that both have)")
    parser.add_argument("--batch-size", type=int, default=1024, help="default: 1024")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ids", type=int, help="so many ids in place of the paper's 1,327,180")
    parser.add_argument("--runs", type=int, default=5, help="turns of each; medians are reported (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="least length of a turn (default: 1)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    args.models = args.models.split(",") if args.models else [name for name in PAIRS if args.fcn or name not in FCN]
    if unknown := [name for name in args.models if name not in PAIRS]:
        parser.error(f"{unknown[0]}: there are {', '.join(PAIRS)}")
    if not args.fcn and (without := [name for name in args.models if name in FCN]):
        parser.error(f"{without[0]} needs --fcn")
    try:
        measure_pairs(args)
    except KeyboardInterrupt:
        sys.exit(130)


def measure_pairs(args: argparse.Namespace) -> None:
    batch_size = args.batch_size
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="eulernet-models-") as folder:
        store, overrides = make_store("criteo", 400 * batch_size, Path(folder) / "data", args.ids)
        fields = [field["size"] for field in json.loads((store / "meta.json").read_text())["fields"]]
        about = {**machine(), "threads": args.threads, "batch_size": batch_size, "ids": sum(fields), "fields": 39}
        print("{cpu}, {cores} cores; {threads} threads, batch {batch_size}, {ids:,} ids".format(**about))
        for name in args.models:
            file, theirs, settings = PAIRS[name]
            ours = [
                *overrides, f"model={name}", "train.weight_decay=0", f"train.batch_size={batch_size}",
                f"train.eval_batch_size={batch_size}", *(EULER_OURS if name.startswith("eulernet") else ()),
            ]  # fmt: skip
            zoo = args.fcn if name in FCN else args.fuxictr / "model_zoo"
            job = dict(
                threads=args.threads, file=str(zoo.resolve() / file), name=theirs, settings=settings,
                store=str(store), split=split_of(store), field_sizes=fields, batch_size=batch_size,
            )  # fmt: skip
            both = [
                contestant("ours", ours, args.threads),
                Contestant("fuxictr", args.python.absolute(), "fuxictr_train.py", job, {"PYTHONPATH": ""}),
            ]
            results[name] = measure(both, args, Path(folder))
            say(f"{name}: {' '.join(line(name, results[name])[1:])}")
            write(args.json, about | {"models": results})  # now, in case the run is stopped
    head = ["model", "training samples/s", "FuxiCTR", "times", "evaluation samples/s", "FuxiCTR", "times"]
    print(markdown([head, *(line(name, result) for name, result in results.items())]))


def contestant(name: str, overrides: list[str], threads: int) -> Contestant:
    job = {"threads": threads, "overrides": overrides}
    return Contestant(name, Path(sys.executable), "ours_train.py", job, {"PYTHONPATH": str(ROOT)})


def measure(found: list[Contestant], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    try:
        with ExitStack() as stack:
            workers: list[Worker] = [stack.enter_context(started(each, folder / each.name)) for each in found]
            contest(workers, args.runs, args.seconds)
            return {worker.name: worker.figures() for worker in workers}
    except WorkerError as error:
        return {"error": str(error)}


def line(name: str, result: dict[str, Any]) -> list[str]:
    """The model, samples/s of ours and theirs and the ratio, in training and in evaluation."""
    if "error" in result:
        return [name, f"failed: {result['error']}", *[""] * 5]
    cells = [name]
    for work in ("train", "evaluate"):
        ours, theirs = (result[side][f"{work}_samples_per_second"]["median"] for side in ("ours", "fuxictr"))
        cells += [f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}"]
    return cells


def write(file: Path | None, figures: dict[str, Any]) -> None:
    if file:
        file.write_text(json.dumps(figures, indent=2) + "\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
