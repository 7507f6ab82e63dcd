"""LeRobot's own bus drivers, told by the first argument what to do on the port of the second.

Results are one line of JSON at the end of standard output; "ready" lines before it ask the other
side to do its part, which it ends with an empty line on standard input.
"""

import json
import random
import sys

import draccus

from lerobot.motors import Motor, MotorCalibration, MotorNormMode
from lerobot.motors.dynamixel import DynamixelMotorsBus
from lerobot.motors.feetech import FeetechMotorsBus

MODES = list(MotorNormMode)
SO_JOINTS = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]


def so_motors(body=MotorNormMode.DEGREES):
    motors = {name: Motor(i + 1, "sts3215", body) for i, name in enumerate(SO_JOINTS)}
    motors["gripper"] = Motor(6, "sts3215", MotorNormMode.RANGE_0_100)
    return motors


def x_motors():
    return {
        "pan": Motor(1, "xl430-w250", MotorNormMode.RANGE_M100_100),
        "tilt": Motor(2, "xl330-m288", MotorNormMode.DEGREES),
    }


def patient(bus):
    """The makers' libraries give an answer some 50 ms, which a busy machine may not keep."""
    handler = bus.port_handler
    handler.setPacketTimeout = lambda _: handler.setPacketTimeoutMillis(2000)
    return bus


def ready(what):
    print("ready", what, flush=True)


def save(calibration, path):
    with open(path, "w") as file, draccus.config_type("json"):
        draccus.dump(calibration, file, indent=4)


def load(path):
    with open(path) as file, draccus.config_type("json"):
        return draccus.load(dict[str, MotorCalibration], file)


def calibrate(bus, path, full_turn):
    bus.disable_torque()
    homings = bus.set_half_turn_homings()
    middle = bus.sync_read("Present_Position", normalize=False)
    moving = [motor for motor in bus.motors if motor != full_turn]
    ready("record")
    mins, maxes = bus.record_ranges_of_motion(moving, display_values=False)
    if full_turn:
        mins[full_turn], maxes[full_turn] = 0, 4095
    calibration = {
        motor: MotorCalibration(m.id, 0, homings[motor], mins[motor], maxes[motor])
        for motor, m in bus.motors.items()
    }
    bus.write_calibration(calibration)
    save(calibration, path)
    return middle


def drive(bus, goals):
    bus.enable_torque()
    bus.sync_write("Goal_Position", goals)
    ready("move")
    sys.stdin.readline()
    return {
        "raw": bus.sync_read("Present_Position", normalize=False),
        "normalized": bus.sync_read("Present_Position"),
        "is_calibrated": bus.is_calibrated,
    }


def feetech(port, path):
    bus = patient(FeetechMotorsBus(port, so_motors()))
    bus.connect()
    found = bus.broadcast_ping()
    bus.configure_motors()
    middle = calibrate(bus, path, "wrist_roll")
    result = drive(bus, {"shoulder_pan": 20.0, "elbow_flex": -30.0, "gripper": 75.0})
    bus.disconnect()
    return {"found": found, "middle": middle, **result}


def dynamixel(port, path):
    bus = patient(DynamixelMotorsBus(port, x_motors()))
    bus.connect()
    found = bus.broadcast_ping()
    bus.configure_motors()
    middle = calibrate(bus, path, None)
    result = drive(bus, {"pan": 40.0, "tilt": -25.0})
    bus.disconnect()
    return {"found": found, "middle": middle, **result}


def check(port, path):
    """Whether LeRobot takes the servos for calibrated by a file of ours."""
    bus = patient(FeetechMotorsBus(port, so_motors(), load(path)))
    bus.connect()
    result = {"is_calibrated": bus.is_calibrated}
    result["normalized"] = bus.sync_read("Present_Position")
    bus.disconnect()
    return result


def setup(port, _):
    """A new servo, found at its baud rate, gets the id and the rate of an arm's gripper."""
    bus = patient(FeetechMotorsBus(port, {"gripper": so_motors()["gripper"]}))
    bus.setup_motor("gripper", initial_baudrate=115_200)
    bus.port_handler.closePort()
    return {}


def arithmetic(_, path):
    """Random numbers through LeRobot's arithmetic."""
    rng = random.Random(3)
    cases = []
    for _ in range(3000):
        is_feetech = rng.random() < 0.6
        mode = rng.choice(MODES)
        low = rng.randrange(0, 4000)
        high = rng.randrange(low + 1, 4096)
        calibration = MotorCalibration(1, rng.randrange(2), 0, low, high)
        motor = {"m": Motor(1, "sts3215" if is_feetech else "xl330-m288", mode)}
        kind = FeetechMotorsBus if is_feetech else DynamixelMotorsBus
        bus = kind("", motor, {"m": calibration})
        steps = rng.randrange(-200, 4400)
        value = rng.uniform(-130, 130)
        cases.append(
            {
                "is_feetech": is_feetech,
                "mode": mode.value,
                "drive_mode": calibration.drive_mode,
                "low": low,
                "high": high,
                "steps": steps,
                "normalized": bus._normalize({1: steps})[1],
                "value": value,
                "unnormalized": bus._unnormalize({1: value})[1],
            }
        )
    with open(path, "w") as file:
        json.dump(cases, file)
    return {"cases": len(cases)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])), flush=True)
