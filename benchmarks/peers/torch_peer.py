"""PyTorch on the shapes of attnlab's cases."""
import itertools
import math
import os
import re


def find(without, threads):
    """(what was found, the module or None)."""
    if without:
        return "absent (left out by --without)", None
    try:
        import torch
    except ImportError as error:
        return f"absent ({error})", None
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    return f"{torch.__version__}, matrix products by {blas(torch)}", torch


def blas(torch):
    """The file of the library that multiplies: on Debian any that provides libblas.so.3, from very slow to fast."""
    torch.ones(64, 64) @ torch.ones(64, 64)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        files = {os.path.realpath(path) for path in re.findall(r"/\S*/lib(?:open)?(?:blas|mkl_core)[^/\s]*", maps.read())}
    return ", ".join(sorted(files)) or "its own"


def makers(case, torch):
    """[(name of the peer, function that allocates its tensors and returns the call)] for a case of ours."""
    for pattern, family in FAMILIES:
        match = re.fullmatch(pattern, case)
        if match:
            return family(torch, **match.groupdict())
    return []


def dtype_of(torch, name):
    return {"f32": torch.float32, "bf16": torch.bfloat16}[name]


def fused_attention(torch):
    """(name, function of q, k, v and causal): the public one, or the private one of PyTorch 1.13."""
    function = torch.nn.functional
    if hasattr(function, "scaled_dot_product_attention"):
        return "scaled_dot_product_attention", lambda q, k, v, causal: function.scaled_dot_product_attention(
            q, k, v, is_causal=causal)
    if hasattr(function, "_scaled_dot_product_attention"):
        # There it returns weights too, on request.
        return "_scaled_dot_product_attention", lambda q, k, v, causal: function._scaled_dot_product_attention(
            q, k, v, None, 0.0, False, causal)
    return None, None


def prefill(torch, dtype, heads, kv_heads, dim, tokens):
    heads, kv_heads, dim, tokens = map(int, (heads, kv_heads, dim, tokens))
    kind = dtype_of(torch, dtype)

    def tensors():
        q = torch.randn(1, heads, tokens, dim).to(kind)
        # Expanded before the clock starts: the query heads of a group find their own copy.
        k, v = (torch.randn(1, kv_heads, tokens, dim).repeat_interleave(heads // kv_heads, 1).to(kind) for _ in "kv")
        return q, k, v

    def make_fused():
        q, k, v = tensors()
        return lambda: fused(q, k, v, True)

    def make_products():
        q, k, v = tensors()
        mask = torch.full((tokens, tokens), -math.inf, dtype=kind).triu(1)
        scale = 1 / math.sqrt(dim)
        return lambda: torch.softmax(q @ k.transpose(-2, -1) * scale + mask, -1) @ v

    name, fused = fused_attention(torch)
    return ([(name, make_fused)] if name else []) + [("matmul, mask, softmax, matmul", make_products)]


def decode(torch, dtype, heads, kv_heads, dim, keys):
    heads, kv_heads, dim, keys = map(int, (heads, kv_heads, dim, keys))
    kind = dtype_of(torch, dtype)

    def make_grouped():
        # As many layers in turn as fill a gigabyte: nothing of them is in the caches.
        layer_bytes = 2 * kv_heads * keys * dim * torch.empty(0, dtype=kind).element_size()
        count = max(1, min(64, (1 << 30) // layer_bytes))
        q = torch.randn(kv_heads, heads // kv_heads, dim).to(kind)
        layers = itertools.cycle([[torch.randn(kv_heads, keys, dim).to(kind) for _ in "kv"] for _ in range(count)])
        scale = 1 / math.sqrt(dim)

        def call():
            k, v = next(layers)
            return torch.softmax(q @ k.transpose(1, 2) * scale, -1) @ v

        return call

    return [("matmul grouped by KV head", make_grouped)]


def top_k(torch, count, k):
    count, k = int(count), int(k)

    def make():
        rows = itertools.cycle(torch.randn(64, count))
        return lambda: torch.topk(next(rows), k, sorted=False)

    return [("topk", make)]


def gemm(torch, rows, columns, depth):
    rows, columns, depth = map(int, (rows, columns, depth))

    def make():
        a, b = torch.randn(rows, depth), torch.randn(depth, columns)
        return lambda: a @ b

    return [("matmul", make)]


FAMILIES = [
    (r"prefill/(?P<dtype>f32|bf16)/q(?P<heads>\d+)kv(?P<kv_heads>\d+)/d(?P<dim>\d+)/s(?P<tokens>\d+)", prefill),
    (r"decode/(?P<dtype>f32|bf16)/q(?P<heads>\d+)kv(?P<kv_heads>\d+)/d(?P<dim>\d+)/k(?P<keys>\d+)", decode),
    (r"top_k/f32/n(?P<count>\d+)/k(?P<k>\d+)", top_k),
    (r"gemm/f32/m(?P<rows>\d+)n(?P<columns>\d+)k(?P<depth>\d+)", gemm),
]
