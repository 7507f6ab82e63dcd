"""LeRobot's vision-language-action policies as the judge.

vla.py make FOLDER   reads FOLDER/case.json, makes a small vision-language model's configuration and
                     tokenizer, saves a policy with random weights in FOLDER/policy and writes inputs,
                     noise, predicted chunks, loss and gradients.
vla.py act FOLDER    acts with FOLDER/policy on those inputs; FOLDER/noise.safetensors holds each step's
                     noise.
vla.py keys FOLDER   writes names and shapes of the parameters at the published sizes.

Everything is computed in float32.
"""
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature, PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from lerobot.processor import PolicyProcessorPipeline
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
from safetensors.torch import load_file, load_model, save_file

STATE, ROWS = "observation.state", 3
MARKS = {"fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>"}


def camera(i):
    return f"observation.images.cam{i}"


def make_tokenizer(folder):
    """A byte-level tokenizer of SmolLM2's kind, learned from a few words."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    words = tokenizers.Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", *MARKS.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(["pick up the red cube", "put the cube into the bowl"] * 5, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<|endoftext|>", extra_special_tokens=MARKS
    )
    fast.save_pretrained(folder)
    return fast


def smolvlm(sizes, vocabulary):
    text = {"model_type": "llama", "vocab_size": vocabulary, **sizes["text_config"]}
    rest = {k: v for k, v in sizes.items() if k != "text_config"}
    return transformers.SmolVLMConfig(text_config=text, pad_token_id=0, image_token_id=1, **rest)


def use_tokenizer(tokenizer):
    """SmolVLA asks the processor for two numbers of its tokenizer and nothing else."""
    import lerobot.policies.smolvla.smolvlm_with_expert as module

    processor = SimpleNamespace(tokenizer=tokenizer)
    module.AutoProcessor = SimpleNamespace(from_pretrained=lambda *_, **__: processor)


def make_gemma_tokenizer(folder):
    """A tokenizer of Gemma's kind: spaces are marks, a text begins with a token of its own."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    words = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    words.normalizer = normalizers.Replace(" ", "▁")
    words.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    words.decoder = decoders.Replace("▁", " ")
    trainer = trainers.BpeTrainer(
        vocab_size=80, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"], show_progress=False
    )
    words.train_from_iterator(["pick up the red cube\n", "put the cube into the bowl\n"] * 5, trainer)
    words.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", words.token_to_id("<bos>"))]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    return fast


def shrink_pi0(tokenizer):
    """π0 of small language models, which LeRobot's settings can't ask for."""
    import lerobot.policies.pi0.modeling_pi0 as module
    import lerobot.processor.tokenizer_processor as processor

    processor.AutoTokenizer = SimpleNamespace(from_pretrained=lambda *_, **__: tokenizer)
    sizes = {"gemma_2b": (48, 96), "gemma_300m": (24, 64)}

    def small_gemma(variant):
        width, mlp = sizes[variant]
        return SimpleNamespace(width=width, depth=3, mlp_dim=mlp, num_heads=8, num_kv_heads=1, head_dim=8)

    module.get_gemma_config = small_gemma
    paligemma, gemma = module.PaliGemmaForConditionalGenerationWithPiGemma, module.PiGemmaForCausalLM

    def small_paligemma(config):
        config.text_config.vocab_size = 320
        vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        for key, value in {**vision, "projection_dim": 48}.items():
            setattr(config.vision_config, key, value)
        return paligemma(config=config)

    def small_expert(config):
        config.vocab_size = 320
        return gemma(config=config)

    module.PaliGemmaForConditionalGenerationWithPiGemma = small_paligemma
    module.PiGemmaForCausalLM = small_expert


def openpis_names(path):
    """Names as openpi gives them: no common prefix, the words' embeddings as output layer alone."""
    weights = {k.removeprefix("model."): v for k, v in load_file(path).items()}
    embeddings = weights.pop("paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight")
    weights["paligemma_with_expert.paligemma.lm_head.weight"] = embeddings
    save_file({k.replace("action_time_mlp", "time_mlp"): v.clone() for k, v in weights.items()}, path)


def features(case):
    inputs = {camera(i): PolicyFeature(FeatureType.VISUAL, (3, *size)) for i, size in enumerate(case["cameras"])}
    inputs[STATE] = PolicyFeature(FeatureType.STATE, (case["state"],))
    return inputs


def statistics(case, inputs):
    stats = {}
    for key, shape in [(STATE, (case["state"],)), ("action", (case["action"],))]:
        stats[key] = {"mean": torch.rand(shape) - 0.3, "std": torch.rand(shape) * 0.5 + 0.2}
    return stats


def observe(tensors, rows, case):
    """The observations of `rows` as LeRobot takes them: pictures [..., 3, h, w] in [0, 1]."""
    seen = {camera(i): tensors[f"image.{i}"][rows].movedim(-1, -3) / 255 for i in range(len(case["cameras"]))}
    seen[STATE] = tensors[STATE][rows].clone()
    return seen


def randomise(policy):
    """Weights that a fresh model has at 1 or 0 take part in what is compared."""
    for name, value in policy.named_parameters():
        if "norm" in name:
            value.data.add_(torch.randn_like(value) * 0.1)
        elif name.endswith("bias"):
            value.data.copy_(torch.randn_like(value) * 0.05)


def noise_shape(config):
    return (config.chunk_size, config.max_action_dim)


def make(folder):
    case = json.loads((folder / "case.json").read_text())
    torch.manual_seed(case.get("seed", 3))
    inputs = features(case)
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in case["config"].items()}
    if case["type"] == "smolvla":
        tokenizer = make_tokenizer(folder / "vlm")
        smolvlm(case["vlm"], len(tokenizer)).save_pretrained(folder / "vlm")
        use_tokenizer(tokenizer)
        settings |= {"vlm_model_name": str(folder / "vlm"), "load_vlm_weights": False}
    else:
        shrink_pi0(make_gemma_tokenizer(folder / "vlm"))
    config = make_policy_config(
        case["type"],
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (case["action"],))},
        normalization_mapping={
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.MEAN_STD,
            "ACTION": NormalizationMode.MEAN_STD,
        },
        device="cpu",
        **settings,
    )
    policy = get_policy_class(case["type"])(config)
    assert all(p.dtype == torch.float32 for p in policy.parameters())
    randomise(policy)
    if case.get("bf16"):
        policy.to(torch.bfloat16)
    stats = statistics(case, inputs)
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    policy.save_pretrained(folder / "policy")
    policy.to(torch.float32)
    before.save_pretrained(folder / "policy")
    after.save_pretrained(folder / "policy")
    shutil.copy(folder / "vlm/tokenizer.json", folder / "policy/tokenizer.json")
    if case["type"] == "smolvla":
        shutil.copy(folder / "vlm/config.json", folder / "policy/vlm_config.json")
    if case.get("old_names"):
        openpis_names(folder / "policy/model.safetensors")

    out = {STATE: torch.randn(ROWS, case["state"])}
    for i, (h, w) in enumerate(case["cameras"]):
        out[f"image.{i}"] = torch.randint(0, 256, (ROWS, h, w, 3)).float()
    chunk, width = noise_shape(config)
    out["actions"] = torch.randn(ROWS, chunk, case["action"])
    out["noise"] = torch.randn(ROWS, chunk, width)
    out["times"] = torch.tensor([0.001, 0.4, 1.0])
    pad = torch.zeros(ROWS, chunk, dtype=torch.bool)
    pad[1, chunk // 2 :] = True
    out["pad"] = pad.float()
    said = {"task": [case["instruction"]] * ROWS}
    batch = before({**observe(out, slice(0, ROWS), case), "action": out["actions"], **said})
    kept = batch["observation.language.attention_mask"][0].bool()
    out["tokens"] = batch["observation.language.tokens"][0][kept].float()
    policy.eval()
    seen = {k: v for k, v in batch.items() if k != "action"}
    out["predicted"] = policy.predict_action_chunk(seen, noise=out["noise"])
    for parameter in policy.parameters():
        parameter.requires_grad = True
    if case["type"] == "smolvla":
        loss, _ = policy.forward({**batch, "action_is_pad": pad}, noise=out["noise"], time=out["times"])
    else:
        policy.model.sample_noise = lambda *_: out["noise"]
        policy.model.sample_time = lambda *_: out["times"]
        loss, _ = policy.forward(batch)
    loss.backward()
    out["loss"] = loss.detach().reshape(1)
    for name, parameter in policy.named_parameters():
        if parameter.grad is not None:
            out[f"grad.{name}"] = parameter.grad
    save_file({k: v.detach().contiguous() for k, v in out.items()}, folder / "theirs.safetensors")


def act(folder):
    case = json.loads((folder / "case.json").read_text())
    place = folder / "policy"
    config = PreTrainedConfig.from_pretrained(place)
    config.device = "cpu"
    if case["type"] == "smolvla":
        use_tokenizer(transformers.AutoTokenizer.from_pretrained(folder / "vlm"))
    policy = get_policy_class(config.type)(config).to(torch.float32)
    load_model(policy, place / "model.safetensors", strict=True)
    before = PolicyProcessorPipeline.from_pretrained(place, config_filename="policy_preprocessor.json")
    after = PolicyProcessorPipeline.from_pretrained(
        place,
        config_filename="policy_postprocessor.json",
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    theirs, noise = load_file(folder / "theirs.safetensors"), load_file(folder / "noise.safetensors")
    policy.eval()
    policy.reset()
    actions = []
    for t in range(len(noise)):
        seen = {k: v[0] for k, v in observe(theirs, slice(t % ROWS, t % ROWS + 1), case).items()}
        batch = before({**seen, "task": case["instruction"]})
        actions.append(after(policy.select_action(batch, noise=noise[f"{t}"][None]))[0])
    save_file({"action": torch.stack(actions).contiguous()}, folder / "acted.safetensors")


def keys(folder):
    import lerobot.policies.smolvla.smolvlm_with_expert as module

    published = transformers.SmolVLMConfig(
        text_config={
            "model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
            "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64,
            "rms_norm_eps": 1e-5, "pad_token_id": 2,
        },
        vision_config={
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "image_size": 512, "patch_size": 16,
        },
        scale_factor=4, image_token_id=49190, tie_word_embeddings=False,
    )
    module.AutoConfig = SimpleNamespace(from_pretrained=lambda *_, **__: published)
    use_tokenizer(SimpleNamespace(fake_image_token_id=49189, global_image_token_id=49152))
    case = {"cameras": [[256, 256]], "state": 6, "action": 6}
    for kind in ("smolvla", "pi0"):
        action = {"action": PolicyFeature(FeatureType.ACTION, (6,))}
        config = make_policy_config(kind, input_features=features(case), output_features=action, device="cpu")
        config.device = "meta"
        with torch.device("meta"):
            policy = get_policy_class(kind)(config)
        shapes = {name: list(value.shape) for name, value in policy.state_dict().items()}
        (folder / f"{kind}.json").write_text(json.dumps(shapes))


folder = Path(sys.argv[2])
{"make": make, "act": act, "keys": keys}[sys.argv[1]](folder)
