"""Updates of PPO, SAC, TD3 and HIL-SERL in PyTorch, from the same weights, batches and noise as ours.

python rl_updates.py FOLDER: reads FOLDER/case.json and FOLDER/in.safetensors (flat f32 vectors),
writes FOLDER/out.safetensors. Networks are flat vectors: per layer the weight [inputs, outputs], the
bias, and with layer normalisation (hidden layers only) its scale and shift.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

ACT = {"tanh": torch.tanh, "relu": F.relu, "elu": F.elu, "silu": F.silu}


def mlp(theta, sizes, x, act, norm=False):
    at = 0

    def take(*shape):
        nonlocal at
        n = math.prod(shape)
        at += n
        return theta[at - n : at].view(*shape)

    for i, (k, n) in enumerate(zip(sizes, sizes[1:])):
        x = x @ take(k, n) + take(n)
        if i + 2 < len(sizes):
            if norm:
                x = F.layer_norm(x, (n,), take(n), take(n))
            x = ACT[act](x)
    assert at == theta.numel()
    return x


def learned(vector):
    return vector.clone().requires_grad_(True)


def ppo(c, t):
    sizes_a, sizes_c = c["actor"], c["critic"]
    actions = sizes_a[-1]
    split = t["actor"].numel()
    actor, log_std, critic = learned(t["actor"]), learned(t["log_std"]), learned(t["critic"])
    optimizer = torch.optim.Adam([actor, log_std, critic], lr=c["lr"], eps=c["adam_eps"])
    obs, taken = t["obs"].view(-1, sizes_a[0]), t["actions"].view(-1, actions)
    old_mean, old_std = t["means"].view(-1, actions), t["old_log_std"].exp()
    clip, losses = c["clip"], []
    for rows in t["orders"].view(c["updates"], -1).long():
        adv = t["advantages"][rows]
        if c["advantage_norm"] == "minibatch":
            adv = (adv - adv.mean()) / (adv.std() + 1e-8)
        mean = mlp(actor, sizes_a, obs[rows], c["activation"])
        policy = torch.distributions.Normal(mean, log_std.exp())
        log_ratio = policy.log_prob(taken[rows]).sum(1) - t["log_probs"][rows]
        ratio = log_ratio.exp()
        policy_loss = torch.max(-adv * ratio, -adv * ratio.clamp(1 - clip, 1 + clip)).mean()
        value = mlp(critic, sizes_c, obs[rows], c["activation"]).view(-1)
        old, wanted = t["values"][rows], t["returns"][rows]
        error = (value - wanted) ** 2
        if c["clip_value"]:
            limited = old + (value - old).clamp(-clip, clip)
            error = torch.max(error, (limited - wanted) ** 2)
        value_loss = 0.5 * error.mean()
        entropy = policy.entropy().sum(1).mean()
        loss = policy_loss - c["entropy_coef"] * entropy + c["value_coef"] * value_loss
        with torch.no_grad():
            std = log_std.exp()
            kl = (torch.log(std / old_std) + (old_std**2 + (old_mean[rows] - mean) ** 2) / (2 * std**2) - 0.5).sum(1).mean()
            if c["adaptive"]:
                lr = optimizer.param_groups[0]["lr"]
                if kl > 2 * c["target_kl"]:
                    lr = max(1e-5, lr / 1.5)
                elif 0 < kl < c["target_kl"] / 2:
                    lr = min(1e-2, lr * 1.5)
                optimizer.param_groups[0]["lr"] = lr
            approx = ((ratio - 1) - log_ratio).mean()
        optimizer.zero_grad()
        loss.backward()
        if c["separately"]:
            torch.nn.utils.clip_grad_norm_([actor, log_std], c["max_grad_norm"])
            torch.nn.utils.clip_grad_norm_([critic], c["max_grad_norm"])
        else:
            torch.nn.utils.clip_grad_norm_([actor, log_std, critic], c["max_grad_norm"])
        optimizer.step()
        losses += [policy_loss.item(), value_loss.item(), approx.item(), kl.item(), entropy.item()]
    params = torch.cat([actor, log_std, critic]).detach()
    assert params.numel() == split + actions + t["critic"].numel()
    return {"params": params, "losses": torch.tensor(losses, dtype=torch.float32)}


def critics_of(theta, count, sizes, x, c):
    return [mlp(part, sizes, x, c["activation"], c["critic_norm"]).view(-1) for part in theta.chunk(count)]


def sac(c, t):
    sizes_a, sizes_c, count = c["actor"], c["critic"], c["critics"]
    n = sizes_a[-1] // 2
    scale, shift = t["scale"], t["shift"]
    actor, critic, target = learned(t["actor"]), learned(t["critics"]), t["target"].clone()
    log_alpha = learned(t["log_alpha"])
    actor_opt = torch.optim.Adam([actor], lr=c["actor_lr"])
    critic_opt = torch.optim.Adam([critic], lr=c["critic_lr"])
    alpha_opt = torch.optim.Adam([log_alpha], lr=c["temperature_lr"])
    rows = t["rewards"].numel()
    obs, next_obs = t["obs"].view(rows, -1), t["next_obs"].view(rows, -1)
    taken = t["actions"].view(rows, n)
    low, high = c["log_std_min"], c["log_std_max"]

    def draw(obs, noise):
        mean, raw = mlp(actor, sizes_a, obs, c["activation"], c["actor_norm"]).chunk(2, 1)
        if c["std_range"] == "tanh":
            log_std = low + 0.5 * (high - low) * (torch.tanh(raw) + 1)
        else:
            log_std = raw.clamp(low, high)
        policy = torch.distributions.Normal(mean, log_std.exp())
        x = mean + log_std.exp() * noise
        y = torch.tanh(x)
        log_prob = policy.log_prob(x) - torch.log(scale * (1 - y**2) + 1e-6)
        return y * scale + shift, log_prob.sum(1)

    goal = -c["target_entropy"] * n
    losses = []
    for k in range(c["updates"]):
        noise = {name: t[f"{name}.{k}"].view(rows, n) for name in ("next", "now", "fresh")}
        alpha = log_alpha.exp().item()
        if c["temperature"] == "before-critics":
            _, log_prob = draw(obs, noise["now"])
            alpha_opt.zero_grad()
            (-(log_alpha * (log_prob.detach() + goal))).mean().backward()
            alpha_opt.step()
        with torch.no_grad():
            action, log_prob = draw(next_obs, noise["next"])
            q = critics_of(target, count, sizes_c, torch.cat([next_obs, action], 1), c)
            q = torch.stack([q[i] for i in c["which"]]).min(0).values - alpha * log_prob
            wanted = t["rewards"] + (1 - t["ends"]) * c["gamma"] * q
        q = critics_of(critic, count, sizes_c, torch.cat([obs, taken], 1), c)
        loss = c["critic_coef"] * sum(F.mse_loss(q, wanted) for q in q)
        critic_opt.zero_grad()
        loss.backward()
        critic_opt.step()
        with torch.no_grad():
            target.add_(critic.detach() - target, alpha=c["tau"])
        losses.append(loss.item() / c["critic_coef"] / count)
        action, log_prob = draw(obs, noise["now"])
        q = torch.stack(critics_of(critic, count, sizes_c, torch.cat([obs, action], 1), c))
        q = q.mean(0) if c["climbs_mean"] else q.min(0).values
        loss = (alpha * log_prob - q).mean()
        actor_opt.zero_grad()
        loss.backward()
        actor_opt.step()
        losses.append(loss.item())
        if c["temperature"] == "after-actor":
            with torch.no_grad():
                _, log_prob = draw(obs, noise["fresh"])
            alpha_opt.zero_grad()
            (-log_alpha.exp() * (log_prob + goal)).mean().backward()
            alpha_opt.step()
    return {
        "actor": actor.detach(),
        "critics": critic.detach(),
        "target": target,
        "log_alpha": log_alpha.detach(),
        "losses": torch.tensor(losses, dtype=torch.float32),
    }


def td3(c, t):
    sizes_a, sizes_c, count = c["actor"], c["critic"], c["critics"]
    n = sizes_a[-1]
    scale, shift = t["scale"], t["shift"]
    actor, critic = learned(t["actor"]), learned(t["critics"])
    actor_target, target = t["actor"].clone(), t["target"].clone()
    actor_opt = torch.optim.Adam([actor], lr=c["actor_lr"])
    critic_opt = torch.optim.Adam([critic], lr=c["critic_lr"])
    rows = t["rewards"].numel()
    obs, next_obs = t["obs"].view(rows, -1), t["next_obs"].view(rows, -1)
    taken = t["actions"].view(rows, n)
    losses = []
    for k in range(c["updates"]):
        with torch.no_grad():
            noise = (t[f"next.{k}"].view(rows, n) * c["target_noise"]).clamp(-c["target_noise_clip"], c["target_noise_clip"])
            y = (torch.tanh(mlp(actor_target, sizes_a, next_obs, c["activation"])) + noise).clamp(-1, 1)
            x = torch.cat([next_obs, y * scale + shift], 1)
            q = torch.stack(critics_of(target, count, sizes_c, x, c)).min(0).values
            wanted = t["rewards"] + (1 - t["ends"]) * c["gamma"] * q
        q = critics_of(critic, count, sizes_c, torch.cat([obs, taken], 1), c)
        loss = sum(F.mse_loss(q, wanted) for q in q)
        critic_opt.zero_grad()
        loss.backward()
        critic_opt.step()
        losses.append(loss.item() / count)
        if k % 2 == 1:
            y = torch.tanh(mlp(actor, sizes_a, obs, c["activation"])) * scale + shift
            loss = -critics_of(critic, count, sizes_c, torch.cat([obs, y], 1), c)[0].mean()
            actor_opt.zero_grad()
            loss.backward()
            actor_opt.step()
            losses.append(loss.item())
            with torch.no_grad():
                actor_target.add_(actor.detach() - actor_target, alpha=c["tau"])
                target.add_(critic.detach() - target, alpha=c["tau"])
    return {
        "actor": actor.detach(),
        "actor_target": actor_target,
        "critics": critic.detach(),
        "target": target,
        "losses": torch.tensor(losses, dtype=torch.float32),
    }


def hilserl(c, t):
    (h, w, ch), count, features = c["map"], c["critics"], c["embeddings"]
    n = c["actor"][-1] // 2
    names = ("trunk", "critics", "actor", "gripper", "raw_alpha")
    trunk, critic, actor, gripper, raw = (learned(t[name]) for name in names)
    trunk_target, target, gripper_target = (v.detach().clone() for v in (trunk, critic, gripper))
    critic_opt = torch.optim.Adam([trunk, critic, gripper], lr=c["critic_lr"])
    actor_opt = torch.optim.Adam([actor], lr=c["actor_lr"])
    alpha_opt = torch.optim.Adam([raw], lr=c["temperature_lr"])

    def look(theta, state, maps):
        at = 0

        def take(*shape):
            nonlocal at
            at += math.prod(shape)
            return theta[at - math.prod(shape) : at].view(*shape)

        def head(x, width):
            x = x @ take(x.shape[1], width) + take(width)
            return torch.tanh(F.layer_norm(x, (width,), take(width), take(width)))

        places = take(h * w, features, ch)
        pooled = torch.einsum("bsc,sfc->bfc", maps.view(-1, h * w, ch), places).flatten(1)
        parts = [head(pooled, c["image_latent"])]
        parts.append(head(state, c["state_latent"]) if c["state_latent"] else state)
        assert at == theta.numel()
        return torch.cat(parts, 1)

    def draw(z, noise):
        mean, log_std = mlp(actor, c["actor"], z, c["activation"], c["actor_norm"]).chunk(2, 1)
        log_std = log_std.clamp(c["log_std_min"], c["log_std_max"])
        policy = torch.distributions.Normal(mean, log_std.exp())
        x = mean + log_std.exp() * noise
        y = torch.tanh(x)
        return y, (policy.log_prob(x) - torch.log(1 - y**2 + 1e-6)).sum(1)

    def values(theta, z, action):
        return torch.stack(critics_of(theta, count, c["critic"], torch.cat([z, action], 1), c))

    def grips(theta, z):
        return mlp(theta, c["gripper"], z, c["activation"], c["critic_norm"])

    alpha = torch.exp if c["temperature_form"] == "exp" else F.softplus
    losses = []
    for k in range(c["updates"]):
        rows = t[f"reward.{k}"].numel()
        get = lambda name: t[f"{name}.{k}"].view(rows, -1)  # noqa: E731
        state, next_state, maps, next_maps = (get(x) for x in ("state", "next_state", "map", "next_map"))
        reward, penalty, goes_on = t[f"reward.{k}"], t[f"penalty.{k}"], c["gamma"] * (1 - t[f"end.{k}"])
        with torch.no_grad():
            next_z, target_z = look(trunk, next_state, next_maps), look(trunk_target, next_state, next_maps)
            action, log_prob = draw(next_z, get("next"))
            q = values(target, target_z, action)[c["which"]].min(0).values
            if c["entropy_in_target"]:
                q = q - alpha(raw) * log_prob
            wanted = reward + goes_on * q
            best = grips(gripper, next_z).argmax(1, keepdim=True)
            next_grip = grips(gripper_target, target_z).gather(1, best).view(-1)
            wanted_grip = reward + penalty + goes_on * next_grip
        z = look(trunk, state, maps)
        errors = ((values(critic, z, get("action")) - wanted) ** 2).mean(1)
        grip = grips(gripper, z).gather(1, get("choice").long()).view(-1)
        grip_loss = F.mse_loss(grip, wanted_grip)
        loss = (errors.mean() if c["critic_loss"] == "mean" else errors.sum()) + grip_loss
        critic_opt.zero_grad()
        loss.backward()
        if c["max_grad_norm"]:
            torch.nn.utils.clip_grad_norm_([trunk, critic, gripper], c["max_grad_norm"])
        critic_opt.step()
        with torch.no_grad():
            for slow, fast in ((trunk_target, trunk), (target, critic), (gripper_target, gripper)):
                slow.add_(fast - slow, alpha=c["tau"])
        losses += [errors.mean().item(), grip_loss.item()]
        z = look(trunk, state, maps).detach()
        action, log_prob = draw(z, get("now"))
        q = values(critic, z, action)
        q = q.mean(0) if c["climbs_mean"] else q.min(0).values
        loss = (alpha(raw).detach() * log_prob - q).mean()
        actor_opt.zero_grad()
        loss.backward()
        if c["max_grad_norm"]:
            torch.nn.utils.clip_grad_norm_([actor], c["max_grad_norm"])
        actor_opt.step()
        losses.append(loss.item())
        entropy, aim = -log_prob.detach().mean(), -c["target_entropy"] * (n + 1)
        alpha_opt.zero_grad()
        (alpha(raw) * (entropy - aim)).sum().backward()
        alpha_opt.step()
    return {
        "trunk": trunk.detach(),
        "critics": critic.detach(),
        "critics_target": target,
        "gripper": gripper.detach(),
        "actor": actor.detach(),
        "raw_alpha": raw.detach(),
        "losses": torch.tensor(losses, dtype=torch.float32),
    }


folder = Path(sys.argv[1])
torch.set_num_threads(1)
case = json.loads((folder / "case.json").read_text())
out = {"ppo": ppo, "sac": sac, "td3": td3, "hilserl": hilserl}[case["what"]](case, load_file(folder / "in.safetensors"))
save_file({name: value.contiguous() for name, value in out.items()}, folder / "out.safetensors")
