"""The Python side of `embody bench imitation`: answers each line WHAT THREADS with a line of JSON.

WHAT is `act-step` or `diffusion-step` (one optimiser step of LeRobot's policy, PyTorch eager on the CPU,
batch in memory), `act-latency` (one prediction), or `forget`.
"""

import json
import sys
import time

import torch
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config

STATE, ENV, CAMERA = "observation.state", "observation.environment_state", "observation.images.cam0"
made = {}


def policy(kind):
    inputs = {STATE: PolicyFeature(FeatureType.STATE, (14,))}
    settings = {"pretrained_backbone_weights": None, "device": "cpu"}
    if kind == "act":
        inputs[CAMERA] = PolicyFeature(FeatureType.VISUAL, (3, 224, 224))
    else:
        inputs[ENV] = PolicyFeature(FeatureType.ENV, (7,))
        settings |= {"horizon": 16, "n_action_steps": 8}
    config = make_policy_config(
        kind,
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (14,))},
        normalization_mapping={k: NormalizationMode.IDENTITY for k in ("VISUAL", "STATE", "ENV", "ACTION")},
        **settings,
    )
    return get_policy_class(kind)(config)


def batch(kind):
    if kind == "act":
        return {
            STATE: torch.randn(8, 14),
            CAMERA: torch.rand(8, 3, 224, 224),
            "action": torch.randn(8, 100, 14),
            "action_is_pad": torch.zeros(8, 100, dtype=torch.bool),
        }
    return {
        STATE: torch.randn(64, 2, 14),
        ENV: torch.randn(64, 2, 7),
        "action": torch.rand(64, 16, 14) * 2 - 1,
        "action_is_pad": torch.zeros(64, 16, dtype=torch.bool),
    }


def step(kind):
    if kind not in made:
        net = policy(kind).train()
        made[kind] = (net, batch(kind), torch.optim.AdamW(net.parameters(), lr=1e-5, weight_decay=1e-4))
        step(kind)
    net, data, optimiser = made[kind]
    start = time.perf_counter()
    loss, _ = net(dict(data))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
    optimiser.step()
    optimiser.zero_grad()
    return time.perf_counter() - start


@torch.no_grad()
def predict():
    if "act-latency" not in made:
        net = policy("act").eval()
        made["act-latency"] = (net, {k: v[:1] for k, v in batch("act").items() if not k.startswith("action")})
        predict()
    net, seen = made["act-latency"]
    start = time.perf_counter()
    net.predict_action_chunk(dict(seen))
    return time.perf_counter() - start


for line in sys.stdin:
    what, *rest = line.split()
    if what == "forget":
        made.clear()
        print("{}", flush=True)
        continue
    torch.set_num_threads(int(rest[0]))
    seconds = predict() if what == "act-latency" else step(what.split("-")[0])
    print(json.dumps({"ms": seconds * 1e3}), flush=True)
