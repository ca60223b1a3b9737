"""PyTorch on this machine's CUDA device, for the table that measure.sh makes: ceilings first, then networks at batch 1, 8 and 64
in eager mode and as a replayed CUDA graph, float32 (TF32 off) and float16. `compile` as argument adds torch.compile at batch
8, which takes minutes."""

import copy
import statistics
import sys
import time

import torch

torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def milliseconds(f, runs=30, warmup=8):
    for _ in range(warmup):
        f()
    torch.cuda.synchronize()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        f()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def replay(f):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            f()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        f()
    return graph.replay


def ceilings():
    x = torch.randn(1 << 28, device="cuda")
    y = torch.empty_like(x)
    print(f"copy {2 * x.numel() * 4 / milliseconds(lambda: y.copy_(x)) / 1e6:.0f} GB/s", flush=True)
    for n in (4096, 8192):
        for dtype in (torch.float32, torch.float16):
            a, b = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
            rate = 2 * n**3 / milliseconds(lambda: a @ b, 10, 3) / 1e9
            print(f"product {n} {str(dtype)[6:]} {rate:.1f} Tflop/s", flush=True)


def networks():
    import torchvision
    from transformers import BertConfig, BertModel

    image = lambda batch, dtype: torch.randn(batch, 3, 224, 224, device="cuda", dtype=dtype)
    tokens = lambda batch, dtype: torch.randint(0, 30000, (batch, 128), device="cuda")
    bert = lambda **sizes: BertModel(BertConfig(**sizes), add_pooling_layer=False)
    yield "resnet50", torchvision.models.resnet50(), image
    yield "minilm", bert(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536), tokens
    yield "bert_layer", bert(num_hidden_layers=1), tokens


DTYPES = (torch.float32, torch.float16)


@torch.inference_mode()
def main():
    ceilings()
    made = list(networks())
    for name, model, make in made:
        for batch in (1, 8, 64):
            for dtype in DTYPES:
                ready, x = model.eval().to("cuda", dtype), make(batch, dtype)
                eager, graph = milliseconds(lambda: ready(x)), milliseconds(replay(lambda: ready(x)))
                print(f"{name} batch {batch} {str(dtype)[6:]}: eager {eager:.3f} ms, graph {graph:.3f} ms", flush=True)
    if "compile" in sys.argv:
        for name, model, make in reversed(made):
            for dtype in DTYPES:
                torch._dynamo.reset()
                ready, x = torch.compile(copy.deepcopy(model).eval().to("cuda", dtype)), make(8, dtype)
                print(f"{name} batch 8 {str(dtype)[6:]}: compiled {milliseconds(lambda: ready(x)):.3f} ms", flush=True)


main()
