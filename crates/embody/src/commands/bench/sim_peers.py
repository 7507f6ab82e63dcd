"""Steps of the peers' environments per second, one line of JSON for each line asked on stdin.

A line is `PEER TASK ENVS SECONDS`; PEER is `envpool` or `async` (gymnasium's AsyncVectorEnv). Actions
are drawn beforehand, uniformly within the action space. Two threads, or as many processes as
environments, as each is meant to be used.
"""

import json
import sys
import time

import numpy as np

made = {}


def make(peer, task, envs):
    if peer == "envpool":
        import envpool

        env = envpool.make_gymnasium(task, num_envs=envs, num_threads=2, seed=0)
        env.reset()
        space = env.action_space
        version = envpool.__version__
    else:
        import gymnasium

        gymnasium.logger.min_level = gymnasium.logger.ERROR
        env = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make(task)] * envs)
        env.reset(seed=0)
        space = env.single_action_space
        version = gymnasium.__version__
    draw = np.random.default_rng(0)
    shape = (64, envs, *space.shape)
    actions = draw.uniform(space.low, space.high, shape).astype(space.dtype)
    return env, actions, version


def main():
    for line in sys.stdin:
        peer, task, envs, seconds = line.split()
        key = (peer, task, int(envs))
        if key not in made:
            made[key] = make(*key)
        env, actions, version = made[key]
        for action in actions[:8]:
            env.step(action)
        steps, start = 0, time.perf_counter()
        while (took := time.perf_counter() - start) < float(seconds):
            env.step(actions[steps % len(actions)])
            steps += 1
        if peer == "async":
            env.close()
            del made[key]
        print(json.dumps({"rate": steps * int(envs) / took, "version": version}), flush=True)


main()
