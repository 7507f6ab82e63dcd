"""LeRobot's policies as the judge.

policies.py make FOLDER   reads FOLDER/case.json, saves a policy with random weights in FOLDER/policy and
                          writes inputs, loss, outputs, gradients and the observations of 100 steps;
                          ACT, which draws nothing, acts on them at once.
policies.py act FOLDER    acts on those observations with FOLDER/policy.
policies.py judge FOLDER  loads FOLDER/ours strictly and acts on them with that.

Where acting draws noise or codes, FOLDER/noise.safetensors holds the numbers of each step.
"""
import json
import sys
from pathlib import Path

import torch
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature, PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from lerobot.processor import PolicyProcessorPipeline
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
from safetensors.torch import load_file, load_model, save_file

STATE, ENV = "observation.state", "observation.environment_state"
STEPS, ROWS = 100, 3


def camera(i):
    return f"observation.images.cam{i}"


def features(case):
    inputs = {}
    for i, (h, w) in enumerate(case["cameras"]):
        inputs[camera(i)] = PolicyFeature(FeatureType.VISUAL, (3, h, w))
    if case["state"]:
        inputs[STATE] = PolicyFeature(FeatureType.STATE, (case["state"],))
    if case["env"]:
        inputs[ENV] = PolicyFeature(FeatureType.ENV, (case["env"],))
    return inputs


def statistics(case, inputs):
    shapes = {"action": (case["action"],)}
    for key, feature in inputs.items():
        shapes[key] = (3, 1, 1) if feature.type is FeatureType.VISUAL else feature.shape
    stats = {}
    for key, shape in shapes.items():
        low = -1 - torch.rand(shape)
        stats[key] = {
            "mean": torch.rand(shape) - 0.3,
            "std": torch.rand(shape) * 0.5 + 0.2,
            "min": low,
            "max": low + 2 + torch.rand(shape),
        }
    return stats


def observe(tensors, prefix, rows, case):
    """The observations of `rows` as LeRobot takes them: pictures [..., 3, h, w] in [0, 1]."""
    out = {}
    for i in range(len(case["cameras"])):
        out[camera(i)] = tensors[f"{prefix}image.{i}"][rows].movedim(-1, -3) / 255
    for key in (STATE, ENV):
        if f"{prefix}{key}" in tensors:
            out[key] = tensors[f"{prefix}{key}"][rows].clone()
    return out


def draw(case, prefix, shape, tensors):
    for i, (h, w) in enumerate(case["cameras"]):
        tensors[f"{prefix}image.{i}"] = torch.randint(0, 256, (*shape, h, w, 3)).float()
    for key, size in ((STATE, case["state"]), (ENV, case["env"])):
        if size:
            tensors[f"{prefix}{key}"] = torch.randn(*shape, size)


def given_noise(drawn):
    """Puts the numbers of `drawn` in place of those that diffusers would draw."""
    import diffusers.schedulers.scheduling_ddpm as ddpm

    ddpm.randn_tensor = lambda *_, **__: next(drawn)


def given_codes(draws):
    """Draws codes by `draws` [chunks, layers] in [0, 1), both layers at once or in turn."""
    columns = iter(draws.T)

    def chosen(probabilities, num_samples):
        at_once = probabilities.shape[0] == draws.numel()
        u = draws.flatten() if at_once else next(columns)
        sums = probabilities.double().cumsum(1)
        return (sums <= u.double()[:, None] * sums[:, -1:]).sum(1, keepdim=True)

    torch.multinomial = chosen


def act(folder, policy, before, after, case, tensors):
    noise = folder / "noise.safetensors"
    noise = load_file(noise) if noise.exists() else None
    policy.eval()
    policy.reset()
    actions = []
    for t in range(STEPS):
        seen = {k: v[0] for k, v in observe(tensors, "step.", slice(t, t + 1), case).items()}
        more = {}
        if case["type"] == "vqbet":
            past = torch.full((policy.config.n_obs_steps - 1, 2), 0.5)
            given_codes(torch.cat([past, noise[f"{t}"]]))
        elif noise is not None:
            drawn = iter(noise[f"{t}"].reshape(-1, 1, policy.config.horizon, case["action"]))
            more["noise"] = next(drawn)
            given_noise(drawn)
        with torch.no_grad():
            actions.append(after(policy.select_action(before(seen), **more))[0])
    save_file({"action": torch.stack(actions).contiguous()}, folder / "acted.safetensors")


def spread(policy, case):
    """Codebooks of which many codes are near, in the case's phase of training."""
    vq = policy.vqbet.action_head.vqvae_model
    width = policy.config.action_chunk_size * case["action"]
    n = policy.config.vqvae_n_embed
    with torch.no_grad():
        z = vq.encoder(torch.randn(4 * n, width))
        for layer, vectors in zip(vq.vq_layer.layers, (z[:n], 0.5 * (z[n : 2 * n] - z[2 * n : 3 * n]))):
            book = layer._codebook
            book.embed.copy_(vectors)
            book.cluster_size.copy_(torch.rand(n) * 3 + 0.5)
            book.embed_avg.copy_(vectors * book.cluster_size[..., None])
    if case["phase"] == 2:
        vq.discretized.fill_(True)
        vq.vq_layer.freeze_codebook.fill_(True)


def make(folder):
    case = json.loads((folder / "case.json").read_text())
    torch.manual_seed(case.get("seed", 3))
    inputs = features(case)
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in case["config"].items()}
    config = make_policy_config(
        case["type"],
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (case["action"],))},
        normalization_mapping={k: NormalizationMode(v) for k, v in case["modes"].items()},
        pretrained_backbone_weights=None,
        device="cpu",
        **settings,
    )
    policy = get_policy_class(case["type"])(config)
    norms = (torch.nn.BatchNorm2d, torch.nn.GroupNorm)
    for module in policy.modules():
        if isinstance(module, norms) or type(module).__name__ == "FrozenBatchNorm2d":
            for name, value in module.state_dict().items():
                if value.is_floating_point():
                    low = 0.75 if name in ("weight", "running_var") else -0.25
                    value.copy_(torch.rand_like(value) * 0.5 + low)
        elif isinstance(module, torch.nn.Linear) and module.bias is not None:
            module.bias.data.copy_(torch.randn_like(module.bias) * 0.05)
    if case["type"] == "vqbet":
        spread(policy, case)
    stats = statistics(case, inputs)
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    policy.save_pretrained(folder / "policy")
    before.save_pretrained(folder / "policy")
    after.save_pretrained(folder / "policy")

    if case["type"] == "vqbet":
        predicted = len(config.action_delta_indices)
    else:
        predicted = config.chunk_size if case["type"] == "act" else config.horizon
    shape = (ROWS,) if case["type"] == "act" else (ROWS, config.n_obs_steps)
    out = {}
    draw(case, "", shape, out)
    out["actions"] = torch.randn(ROWS, predicted, case["action"])
    pad = torch.zeros(ROWS, predicted, dtype=torch.bool)
    pad[1, predicted // 2 :] = True
    pad[2, 1:] = True
    out["pad"] = pad.float()
    batch = before({**observe(out, "", slice(0, ROWS), case), "action": out["actions"]})
    batch["action_is_pad"] = pad
    # Statistics of batch normalisation stay as they are, and parts of pictures are the middle ones;
    # dropout is off in every case.
    policy.eval()
    if case["type"] == "act":
        policy.model.train()
        policy.model.backbone.eval() if case["cameras"] else None
        batch.setdefault(STATE, torch.zeros(ROWS, 1))
        out["noise"] = torch.randn(ROWS, config.latent_dim)
        torch.randn_like = lambda mean: out["noise"]
        loss, _ = policy.forward(batch)
        policy.eval()
        out["predicted"] = policy.predict_action_chunk({k: v for k, v in batch.items() if k != "action"})
    elif case["type"] == "vqbet":
        policy.train()
        policy.vqbet.rgb_encoder.eval()
        vq = policy.vqbet.action_head.vqvae_model
        chunks = policy.vqbet.select_target_actions_indices
        vq.eval()
        out["codes"] = vq.get_code(batch["action"][:, chunks].flatten(0, 1))[1].float()
        vq.train()
        out["noise"] = torch.rand(ROWS * len(chunks), 2)
        given_codes(out["noise"])
        loss, _ = policy.forward(batch)
        if case["phase"] == 1:
            after_step = policy.state_dict()
            moved = [k for k in after_step if "vq_layer" in k or k.endswith("discretized")]
            out.update({f"after.{k}": after_step[k].float() for k in moved})
    else:
        out["noise"] = torch.randn(ROWS, predicted, case["action"])
        levels = torch.tensor([0, config.num_train_timesteps // 2, config.num_train_timesteps - 1])
        out["levels"] = levels.float()
        real = torch.randn, torch.randint
        torch.randn = lambda *_, **__: out["noise"]
        torch.randint = lambda **_: levels
        loss, _ = policy.forward(batch)
        torch.randn, torch.randint = real
    loss.backward()
    out["loss"] = loss.detach().reshape(1)
    for name, parameter in policy.named_parameters():
        grad = parameter.grad
        out[f"grad.{name}"] = torch.zeros_like(parameter) if grad is None else grad
    draw(case, "step.", (STEPS,), out)
    if case["type"] == "act" and case["state"]:
        act(folder, policy, before, after, case, out)
    save_file({k: v.detach().contiguous() for k, v in out.items()}, folder / "theirs.safetensors")
    if case.get("embedded"):
        embed(folder / "policy", stats)


def embed(folder, stats):
    """Turns the folder into one of before September 2025, statistics among the weights."""
    weights = load_file(folder / "model.safetensors")
    for key, values in stats.items():
        for stat, value in values.items():
            flat = key.replace(".", "_")
            if key == "action":
                weights[f"normalize_targets.buffer_{flat}.{stat}"] = value.clone()
                weights[f"unnormalize_outputs.buffer_{flat}.{stat}"] = value.clone()
            else:
                weights[f"normalize_inputs.buffer_{flat}.{stat}"] = value.clone()
    for old in folder.glob("policy_*"):
        old.rename(folder.parent / old.name)
    save_file(weights, folder / "model.safetensors")


def load(folder, processors):
    config = PreTrainedConfig.from_pretrained(folder)
    config.device = "cpu"
    policy = get_policy_class(config.type)(config)
    before = PolicyProcessorPipeline.from_pretrained(
        processors, config_filename="policy_preprocessor.json"
    )
    after = PolicyProcessorPipeline.from_pretrained(
        processors,
        config_filename="policy_postprocessor.json",
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return policy, before, after


def judge(folder, name):
    case = json.loads((folder / "case.json").read_text())
    embedded = case.get("embedded") and name == "policy"
    policy, before, after = load(folder / name, folder if embedded else folder / name)
    weights = folder / name / "model.safetensors"
    missing, unexpected = load_model(policy, weights, strict=not embedded)
    assert not missing and (embedded or not unexpected), (missing, unexpected)
    act(folder, policy, before, after, case, load_file(folder / "theirs.safetensors"))


folder = Path(sys.argv[2])
{"make": make, "act": lambda f: judge(f, "policy"), "judge": lambda f: judge(f, "ours")}[sys.argv[1]](folder)
