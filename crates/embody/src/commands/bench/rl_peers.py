"""The Python side of `embody bench rl`: answers each line WHAT TASK SECONDS [SEED] with a line of JSON.

WHAT is `ppo` (the algorithm and settings of CleanRL's ppo_continuous_action, PyTorch on the CPU, one
environment in Gymnasium's wrappers), `sb3-sac` or `sbx-sac` (updates of batch 256, networks 256 x 2).
"""

import json
import sys
import time

import gymnasium as gym
import numpy as np


def ppo(task, seconds, seed, total=1_000_000):
    import torch
    from torch import nn

    def make():
        env = gym.make(task)
        env = gym.wrappers.FlattenObservation(env)
        env = gym.wrappers.RecordEpisodeStatistics(env)
        env = gym.wrappers.ClipAction(env)
        env = gym.wrappers.NormalizeObservation(env)
        env = gym.wrappers.TransformObservation(env, lambda o: np.clip(o, -10, 10), None)
        env = gym.wrappers.NormalizeReward(env, gamma=0.99)
        return gym.wrappers.TransformReward(env, lambda r: float(np.clip(r, -10, 10)))

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    envs = gym.vector.SyncVectorEnv([make], autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    dim, n = envs.single_observation_space.shape[0], envs.single_action_space.shape[0]

    def linear(k, m, gain):
        layer = nn.Linear(k, m)
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
        return layer

    def net(out, gain):
        root = 2**0.5
        return nn.Sequential(linear(dim, 64, root), nn.Tanh(), linear(64, 64, root), nn.Tanh(), linear(64, out, gain))

    actor, critic, log_std = net(n, 0.01), net(1, 1.0), nn.Parameter(torch.zeros(1, n))
    params = [*actor.parameters(), *critic.parameters(), log_std]
    optimizer = torch.optim.Adam(params, lr=3e-4, eps=1e-5)
    steps, batch, epochs, clip = 2048, 64, 10, 0.2
    obs_b, act_b = torch.zeros(steps, 1, dim), torch.zeros(steps, 1, n)
    logp_b, rew_b, done_b, val_b = (torch.zeros(steps, 1) for _ in range(4))
    returns, rates = [], []
    obs, _ = envs.reset(seed=seed)
    obs, done = torch.tensor(obs, dtype=torch.float32), torch.zeros(1)
    began, updates = time.time(), total // steps
    for update in range(updates):
        start = time.time()
        optimizer.param_groups[0]["lr"] = (1 - update / updates) * 3e-4
        for t in range(steps):
            obs_b[t], done_b[t] = obs, done
            with torch.no_grad():
                policy = torch.distributions.Normal(actor(obs), log_std.expand(1, n).exp())
                action = policy.sample()
                logp_b[t], val_b[t] = policy.log_prob(action).sum(1), critic(obs).flatten()
            act_b[t] = action
            new, reward, ended, cut, info = envs.step(action.numpy())
            obs = torch.tensor(new, dtype=torch.float32)
            done = torch.tensor(np.logical_or(ended, cut), dtype=torch.float32)
            rew_b[t] = torch.tensor(reward)
            if done.any():
                returns.append(float(info["final_info"]["episode"]["r"][0]))
        with torch.no_grad():
            after, carried = critic(obs).flatten(), torch.zeros(1)
            adv = torch.zeros(steps, 1)
            for t in reversed(range(steps)):
                goes_on = 1 - (done if t + 1 == steps else done_b[t + 1])
                delta = rew_b[t] + 0.99 * after * goes_on - val_b[t]
                adv[t] = carried = delta + 0.99 * 0.95 * goes_on * carried
                after = val_b[t]
        wanted = (adv + val_b).flatten()
        o, a, lp, ad, v = obs_b.view(-1, dim), act_b.view(-1, n), logp_b.flatten(), adv.flatten(), val_b.flatten()
        order = np.arange(steps)
        for _ in range(epochs):
            rng.shuffle(order)
            for at in range(0, steps, batch):
                i = order[at : at + batch]
                policy = torch.distributions.Normal(actor(o[i]), log_std.expand(batch, n).exp())
                log_ratio = policy.log_prob(a[i]).sum(1) - lp[i]
                ratio = log_ratio.exp()
                with torch.no_grad():
                    _kl = ((ratio - 1) - log_ratio).mean()
                    _clipped = ((ratio - 1).abs() > clip).float().mean().item()
                x = (ad[i] - ad[i].mean()) / (ad[i].std() + 1e-8)
                policy_loss = torch.max(-x * ratio, -x * ratio.clamp(1 - clip, 1 + clip)).mean()
                value = critic(o[i]).view(-1)
                limited = v[i] + (value - v[i]).clamp(-clip, clip)
                value_loss = 0.5 * torch.max((value - wanted[i]) ** 2, (limited - wanted[i]) ** 2).mean()
                entropy = policy.entropy().sum(1).mean()
                loss = policy_loss - 0.0 * entropy + 0.5 * value_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(params, 0.5)
                optimizer.step()
        rates.append(steps / (time.time() - start))
        if time.time() - began > seconds and len(rates) >= 2:
            break
    last = returns[-100:]
    return {
        "per_second": float(np.median(rates[1:])),
        "steps": (update + 1) * steps,
        "training_return": float(np.mean(last)) if last else None,
    }


def sac(task, seconds, seed, package):
    if package == "sb3":
        from stable_baselines3 import SAC

        # SBX's default networks are these as well.
        model = SAC("MlpPolicy", task, batch_size=256, seed=seed, device="cpu", learning_starts=1000)
    else:
        from sbx import SAC

        model = SAC("MlpPolicy", task, batch_size=256, seed=seed, learning_starts=1000)
    model.learn(1100)
    # What `learn` does between environment steps, one update a call.
    model.train(batch_size=256, gradient_steps=1)
    rates, began = [], time.time()
    while time.time() - began < seconds or len(rates) < 3:
        start = time.time()
        for _ in range(50):
            model.train(batch_size=256, gradient_steps=1)
        rates.append(50 / (time.time() - start))
    return {"per_second": float(np.median(rates))}


def answer(what, task, seconds, seed="1"):
    if what == "ppo":
        return ppo(task, float(seconds), int(seed))
    return sac(task, float(seconds), int(seed), what.split("-")[0])


for line in sys.stdin:
    print(json.dumps(answer(*line.split())), flush=True)
