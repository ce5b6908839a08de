"""Converts published weights of HashAttention to attnlab's layout (docs/reference/hash-weights.md):

    python3 convert_weights.py FROM.hat_weights.pkl TO.safetensors --activation silu
    python3 convert_weights.py FROM.pt TO.safetensors --activation silu

Needs PyTorch. It opens a pickle, and that can run code: convert only files whose origin you trust."""

import argparse
import json
import pickle
import re
import struct

import torch

STATE_NAME = re.compile(r"(\d+)\.learning_to_hash_transformation_([qk])\.(\d+)\.(\d+)\.(weight|bias)")
SIDES = {"q": "query", "k": "key"}


def from_dictionary(layers):
    """{layer: {query_matrix: [tensor [heads, inputs, outputs] of each linear layer], query_bias: [...], ...}}"""
    for layer, weights in layers.items():
        for side in SIDES.values():
            matrices, biases = weights[f"{side}_matrix"], weights[f"{side}_bias"]
            for i, (matrix, bias) in enumerate(zip(matrices, biases)):
                yield int(layer), side, i, matrix, bias


def from_state(state):
    """{"LAYER.learning_to_hash_transformation_{q,k}.HEAD.{0,2,4}.{weight,bias}": tensor}; weights [outputs, inputs]."""
    found = {}
    for name, tensor in state.items():
        match = STATE_NAME.fullmatch(name)
        if not match:
            raise SystemExit(f"unknown tensor {name}")
        layer, side, head, place, kind = match.groups()
        found.setdefault((int(layer), SIDES[side], int(place) // 2), {}).setdefault(int(head), {})[kind] = tensor
    for (layer, side, i), heads in found.items():
        ordered = [heads[head] for head in range(len(heads))]
        matrix = torch.stack([head["weight"].T for head in ordered])
        zeros = torch.zeros(matrix.shape[2])
        yield layer, side, i, matrix, torch.stack([head.get("bias", zeros) for head in ordered])


def write(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, []
    position = 0
    for name, tensor in tensors.items():
        # float32 is mapped by the reader, where halves would be widened for each run.
        raw = tensor.detach().to(torch.float32).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [position, position + len(raw)]}
        position += len(raw)
        data.append(raw)
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(data)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("source")
    arguments.add_argument("output")
    arguments.add_argument("--activation", choices=["silu", "relu", "gelu", "tanh"], required=True)
    arguments = arguments.parse_args()

    if arguments.source.endswith(".pkl"):
        with open(arguments.source, "rb") as file:
            parts = from_dictionary(pickle.load(file))
    else:
        parts = from_state(torch.load(arguments.source, map_location="cpu"))
    tensors, layers, mlp_layers = {}, set(), 0
    for layer, side, i, matrix, bias in parts:
        tensors[f"layers.{layer}.{side}.{i}.weight"] = matrix
        tensors[f"layers.{layer}.{side}.{i}.bias"] = bias
        layers.add(layer)
        mlp_layers = max(mlp_layers, i + 1)
    write(arguments.output, tensors, {"format": "attnlab.hash_weights/1", "layers": ",".join(map(str, sorted(layers))),
                                      "per": "query_head", "mlp_layers": str(mlp_layers),
                                      "activation": arguments.activation})


main()
