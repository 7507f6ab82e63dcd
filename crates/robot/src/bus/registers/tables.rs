//! The registers of each family and the models of it, as data.
//!
//! Sources: Feetech's manuals of the STS/SMS and SCSCL series, the ROBOTIS e-manual's control table
//! of the X series. Defaults are those of a new servo, where manuals tell them; the emulator starts
//! from them.

use super::Area::{Eeprom, Ram, ReadOnly};
use super::Sign::{Bit, Complement, Unsigned};
use super::{Model, Register};
use crate::bus::Protocol;

macro_rules! register {
    ($id:ident, $name:literal, $address:literal, $bytes:literal, $sign:expr, $area:expr,
     $default:literal) => {
        #[doc = concat!("The register ", $name, ".")]
        pub const $id: Register = Register {
            name: $name,
            address: $address,
            bytes: $bytes,
            sign: $sign,
            area: $area,
            default: $default,
        };
    };
}

/// STS and SMS series of Feetech.
pub mod sts {
    use super::*;
    register!(FIRMWARE_MAJOR_VERSION, "Firmware_Major_Version", 0, 1, Unsigned, ReadOnly, 3);
    register!(FIRMWARE_MINOR_VERSION, "Firmware_Minor_Version", 1, 1, Unsigned, ReadOnly, 10);
    register!(MODEL_NUMBER, "Model_Number", 3, 2, Unsigned, ReadOnly, 0);
    register!(ID, "ID", 5, 1, Unsigned, Eeprom, 1);
    register!(BAUD_RATE, "Baud_Rate", 6, 1, Unsigned, Eeprom, 0);
    register!(RETURN_DELAY_TIME, "Return_Delay_Time", 7, 1, Unsigned, Eeprom, 250);
    register!(RESPONSE_STATUS_LEVEL, "Response_Status_Level", 8, 1, Unsigned, Eeprom, 1);
    register!(MIN_POSITION_LIMIT, "Min_Position_Limit", 9, 2, Unsigned, Eeprom, 0);
    register!(MAX_POSITION_LIMIT, "Max_Position_Limit", 11, 2, Unsigned, Eeprom, 4095);
    register!(MAX_TEMPERATURE_LIMIT, "Max_Temperature_Limit", 13, 1, Unsigned, Eeprom, 70);
    register!(MAX_VOLTAGE_LIMIT, "Max_Voltage_Limit", 14, 1, Unsigned, Eeprom, 140);
    register!(MIN_VOLTAGE_LIMIT, "Min_Voltage_Limit", 15, 1, Unsigned, Eeprom, 40);
    register!(MAX_TORQUE_LIMIT, "Max_Torque_Limit", 16, 2, Unsigned, Eeprom, 1000);
    register!(PHASE, "Phase", 18, 1, Unsigned, Eeprom, 12);
    register!(UNLOADING_CONDITION, "Unloading_Condition", 19, 1, Unsigned, Eeprom, 44);
    register!(LED_ALARM_CONDITION, "LED_Alarm_Condition", 20, 1, Unsigned, Eeprom, 47);
    register!(P_COEFFICIENT, "P_Coefficient", 21, 1, Unsigned, Eeprom, 32);
    register!(D_COEFFICIENT, "D_Coefficient", 22, 1, Unsigned, Eeprom, 32);
    register!(I_COEFFICIENT, "I_Coefficient", 23, 1, Unsigned, Eeprom, 0);
    register!(MINIMUM_STARTUP_FORCE, "Minimum_Startup_Force", 24, 2, Unsigned, Eeprom, 16);
    register!(CW_DEAD_ZONE, "CW_Dead_Zone", 26, 1, Unsigned, Eeprom, 1);
    register!(CCW_DEAD_ZONE, "CCW_Dead_Zone", 27, 1, Unsigned, Eeprom, 1);
    register!(PROTECTION_CURRENT, "Protection_Current", 28, 2, Unsigned, Eeprom, 500);
    register!(ANGULAR_RESOLUTION, "Angular_Resolution", 30, 1, Unsigned, Eeprom, 1);
    register!(HOMING_OFFSET, "Homing_Offset", 31, 2, Bit(11), Eeprom, 0);
    register!(OPERATING_MODE, "Operating_Mode", 33, 1, Unsigned, Eeprom, 0);
    register!(PROTECTIVE_TORQUE, "Protective_Torque", 34, 1, Unsigned, Eeprom, 20);
    register!(PROTECTION_TIME, "Protection_Time", 35, 1, Unsigned, Eeprom, 200);
    register!(OVERLOAD_TORQUE, "Overload_Torque", 36, 1, Unsigned, Eeprom, 80);
    register!(VELOCITY_P_COEFFICIENT, "Velocity_P_Coefficient", 37, 1, Unsigned, Eeprom, 10);
    register!(
        OVER_CURRENT_PROTECTION_TIME,
        "Over_Current_Protection_Time",
        38,
        1,
        Unsigned,
        Eeprom,
        200
    );
    register!(VELOCITY_I_COEFFICIENT, "Velocity_I_Coefficient", 39, 1, Unsigned, Eeprom, 10);
    register!(TORQUE_ENABLE, "Torque_Enable", 40, 1, Unsigned, Ram, 0);
    register!(ACCELERATION, "Acceleration", 41, 1, Unsigned, Ram, 0);
    register!(GOAL_POSITION, "Goal_Position", 42, 2, Bit(15), Ram, 0);
    register!(GOAL_TIME, "Goal_Time", 44, 2, Unsigned, Ram, 0);
    register!(GOAL_VELOCITY, "Goal_Velocity", 46, 2, Bit(15), Ram, 0);
    register!(TORQUE_LIMIT, "Torque_Limit", 48, 2, Unsigned, Ram, 1000);
    register!(LOCK, "Lock", 55, 1, Unsigned, Ram, 1);
    register!(PRESENT_POSITION, "Present_Position", 56, 2, Bit(15), ReadOnly, 0);
    register!(PRESENT_VELOCITY, "Present_Velocity", 58, 2, Bit(15), ReadOnly, 0);
    register!(PRESENT_LOAD, "Present_Load", 60, 2, Bit(10), ReadOnly, 0);
    register!(PRESENT_VOLTAGE, "Present_Voltage", 62, 1, Unsigned, ReadOnly, 120);
    register!(PRESENT_TEMPERATURE, "Present_Temperature", 63, 1, Unsigned, ReadOnly, 30);
    register!(STATUS, "Status", 65, 1, Unsigned, ReadOnly, 0);
    register!(MOVING, "Moving", 66, 1, Unsigned, ReadOnly, 0);
    register!(PRESENT_CURRENT, "Present_Current", 69, 2, Bit(15), ReadOnly, 0);
    register!(GOAL_POSITION_2, "Goal_Position_2", 71, 2, Bit(15), ReadOnly, 0);
    register!(MOVING_VELOCITY_THRESHOLD, "Moving_Velocity_Threshold", 80, 1, Unsigned, Eeprom, 1);
    register!(DTS, "DTs", 81, 1, Unsigned, Eeprom, 10);
    register!(VELOCITY_UNIT_FACTOR, "Velocity_Unit_Factor", 82, 1, Unsigned, Eeprom, 50);
    register!(HTS, "Hts", 83, 1, Unsigned, Eeprom, 0);
    register!(MAXIMUM_VELOCITY_LIMIT, "Maximum_Velocity_Limit", 84, 1, Unsigned, Eeprom, 254);
    register!(MAXIMUM_ACCELERATION, "Maximum_Acceleration", 85, 1, Unsigned, Eeprom, 150);
    register!(ACCELERATION_MULTIPLIER, "Acceleration_Multiplier", 86, 1, Unsigned, Eeprom, 1);
    /// All of them, in order of address.
    pub const ALL: &[&Register] = &[
        &FIRMWARE_MAJOR_VERSION,
        &FIRMWARE_MINOR_VERSION,
        &MODEL_NUMBER,
        &ID,
        &BAUD_RATE,
        &RETURN_DELAY_TIME,
        &RESPONSE_STATUS_LEVEL,
        &MIN_POSITION_LIMIT,
        &MAX_POSITION_LIMIT,
        &MAX_TEMPERATURE_LIMIT,
        &MAX_VOLTAGE_LIMIT,
        &MIN_VOLTAGE_LIMIT,
        &MAX_TORQUE_LIMIT,
        &PHASE,
        &UNLOADING_CONDITION,
        &LED_ALARM_CONDITION,
        &P_COEFFICIENT,
        &D_COEFFICIENT,
        &I_COEFFICIENT,
        &MINIMUM_STARTUP_FORCE,
        &CW_DEAD_ZONE,
        &CCW_DEAD_ZONE,
        &PROTECTION_CURRENT,
        &ANGULAR_RESOLUTION,
        &HOMING_OFFSET,
        &OPERATING_MODE,
        &PROTECTIVE_TORQUE,
        &PROTECTION_TIME,
        &OVERLOAD_TORQUE,
        &VELOCITY_P_COEFFICIENT,
        &OVER_CURRENT_PROTECTION_TIME,
        &VELOCITY_I_COEFFICIENT,
        &TORQUE_ENABLE,
        &ACCELERATION,
        &GOAL_POSITION,
        &GOAL_TIME,
        &GOAL_VELOCITY,
        &TORQUE_LIMIT,
        &LOCK,
        &PRESENT_POSITION,
        &PRESENT_VELOCITY,
        &PRESENT_LOAD,
        &PRESENT_VOLTAGE,
        &PRESENT_TEMPERATURE,
        &STATUS,
        &MOVING,
        &PRESENT_CURRENT,
        &GOAL_POSITION_2,
        &MOVING_VELOCITY_THRESHOLD,
        &DTS,
        &VELOCITY_UNIT_FACTOR,
        &HTS,
        &MAXIMUM_VELOCITY_LIMIT,
        &MAXIMUM_ACCELERATION,
        &ACCELERATION_MULTIPLIER,
    ];
}

/// SCS series of Feetech, high byte first.
pub mod scs {
    use super::*;
    register!(FIRMWARE_MAJOR_VERSION, "Firmware_Major_Version", 0, 1, Unsigned, ReadOnly, 3);
    register!(FIRMWARE_MINOR_VERSION, "Firmware_Minor_Version", 1, 1, Unsigned, ReadOnly, 3);
    register!(MODEL_NUMBER, "Model_Number", 3, 2, Unsigned, ReadOnly, 0);
    register!(ID, "ID", 5, 1, Unsigned, Eeprom, 1);
    register!(BAUD_RATE, "Baud_Rate", 6, 1, Unsigned, Eeprom, 0);
    register!(RETURN_DELAY_TIME, "Return_Delay_Time", 7, 1, Unsigned, Eeprom, 250);
    register!(RESPONSE_STATUS_LEVEL, "Response_Status_Level", 8, 1, Unsigned, Eeprom, 1);
    register!(MIN_POSITION_LIMIT, "Min_Position_Limit", 9, 2, Unsigned, Eeprom, 0);
    register!(MAX_POSITION_LIMIT, "Max_Position_Limit", 11, 2, Unsigned, Eeprom, 1023);
    register!(MAX_TEMPERATURE_LIMIT, "Max_Temperature_Limit", 13, 1, Unsigned, Eeprom, 70);
    register!(MAX_VOLTAGE_LIMIT, "Max_Voltage_Limit", 14, 1, Unsigned, Eeprom, 84);
    register!(MIN_VOLTAGE_LIMIT, "Min_Voltage_Limit", 15, 1, Unsigned, Eeprom, 40);
    register!(MAX_TORQUE_LIMIT, "Max_Torque_Limit", 16, 2, Unsigned, Eeprom, 1000);
    register!(PHASE, "Phase", 18, 1, Unsigned, Eeprom, 0);
    register!(UNLOADING_CONDITION, "Unloading_Condition", 19, 1, Unsigned, Eeprom, 44);
    register!(LED_ALARM_CONDITION, "LED_Alarm_Condition", 20, 1, Unsigned, Eeprom, 47);
    register!(P_COEFFICIENT, "P_Coefficient", 21, 1, Unsigned, Eeprom, 32);
    register!(D_COEFFICIENT, "D_Coefficient", 22, 1, Unsigned, Eeprom, 32);
    register!(I_COEFFICIENT, "I_Coefficient", 23, 1, Unsigned, Eeprom, 0);
    register!(MINIMUM_STARTUP_FORCE, "Minimum_Startup_Force", 24, 2, Unsigned, Eeprom, 16);
    register!(CW_DEAD_ZONE, "CW_Dead_Zone", 26, 1, Unsigned, Eeprom, 1);
    register!(CCW_DEAD_ZONE, "CCW_Dead_Zone", 27, 1, Unsigned, Eeprom, 1);
    register!(PROTECTIVE_TORQUE, "Protective_Torque", 37, 1, Unsigned, Eeprom, 20);
    register!(PROTECTION_TIME, "Protection_Time", 38, 1, Unsigned, Eeprom, 200);
    register!(TORQUE_ENABLE, "Torque_Enable", 40, 1, Unsigned, Ram, 0);
    register!(ACCELERATION, "Acceleration", 41, 1, Unsigned, Ram, 0);
    register!(GOAL_POSITION, "Goal_Position", 42, 2, Unsigned, Ram, 0);
    register!(GOAL_TIME, "Goal_Time", 44, 2, Unsigned, Ram, 0);
    register!(GOAL_VELOCITY, "Goal_Velocity", 46, 2, Unsigned, Ram, 0);
    register!(LOCK, "Lock", 48, 1, Unsigned, Ram, 1);
    register!(PRESENT_POSITION, "Present_Position", 56, 2, Unsigned, ReadOnly, 0);
    register!(PRESENT_VELOCITY, "Present_Velocity", 58, 2, Bit(15), ReadOnly, 0);
    register!(PRESENT_LOAD, "Present_Load", 60, 2, Bit(10), ReadOnly, 0);
    register!(PRESENT_VOLTAGE, "Present_Voltage", 62, 1, Unsigned, ReadOnly, 60);
    register!(PRESENT_TEMPERATURE, "Present_Temperature", 63, 1, Unsigned, ReadOnly, 30);
    register!(STATUS, "Status", 65, 1, Unsigned, ReadOnly, 0);
    register!(MOVING, "Moving", 66, 1, Unsigned, ReadOnly, 0);
    /// All of them, in order of address.
    pub const ALL: &[&Register] = &[
        &FIRMWARE_MAJOR_VERSION,
        &FIRMWARE_MINOR_VERSION,
        &MODEL_NUMBER,
        &ID,
        &BAUD_RATE,
        &RETURN_DELAY_TIME,
        &RESPONSE_STATUS_LEVEL,
        &MIN_POSITION_LIMIT,
        &MAX_POSITION_LIMIT,
        &MAX_TEMPERATURE_LIMIT,
        &MAX_VOLTAGE_LIMIT,
        &MIN_VOLTAGE_LIMIT,
        &MAX_TORQUE_LIMIT,
        &PHASE,
        &UNLOADING_CONDITION,
        &LED_ALARM_CONDITION,
        &P_COEFFICIENT,
        &D_COEFFICIENT,
        &I_COEFFICIENT,
        &MINIMUM_STARTUP_FORCE,
        &CW_DEAD_ZONE,
        &CCW_DEAD_ZONE,
        &PROTECTIVE_TORQUE,
        &PROTECTION_TIME,
        &TORQUE_ENABLE,
        &ACCELERATION,
        &GOAL_POSITION,
        &GOAL_TIME,
        &GOAL_VELOCITY,
        &LOCK,
        &PRESENT_POSITION,
        &PRESENT_VELOCITY,
        &PRESENT_LOAD,
        &PRESENT_VOLTAGE,
        &PRESENT_TEMPERATURE,
        &STATUS,
        &MOVING,
    ];
}

/// X series of Dynamixel.
pub mod dxl {
    use super::*;
    register!(MODEL_NUMBER, "Model_Number", 0, 2, Unsigned, ReadOnly, 0);
    register!(MODEL_INFORMATION, "Model_Information", 2, 4, Unsigned, ReadOnly, 0);
    register!(FIRMWARE_VERSION, "Firmware_Version", 6, 1, Unsigned, ReadOnly, 46);
    register!(ID, "ID", 7, 1, Unsigned, Eeprom, 1);
    register!(BAUD_RATE, "Baud_Rate", 8, 1, Unsigned, Eeprom, 1);
    register!(RETURN_DELAY_TIME, "Return_Delay_Time", 9, 1, Unsigned, Eeprom, 250);
    register!(DRIVE_MODE, "Drive_Mode", 10, 1, Unsigned, Eeprom, 0);
    register!(OPERATING_MODE, "Operating_Mode", 11, 1, Unsigned, Eeprom, 3);
    register!(SECONDARY_ID, "Secondary_ID", 12, 1, Unsigned, Eeprom, 255);
    register!(PROTOCOL_TYPE, "Protocol_Type", 13, 1, Unsigned, Eeprom, 2);
    register!(HOMING_OFFSET, "Homing_Offset", 20, 4, Complement, Eeprom, 0);
    register!(MOVING_THRESHOLD, "Moving_Threshold", 24, 4, Unsigned, Eeprom, 10);
    register!(TEMPERATURE_LIMIT, "Temperature_Limit", 31, 1, Unsigned, Eeprom, 72);
    register!(MAX_VOLTAGE_LIMIT, "Max_Voltage_Limit", 32, 2, Unsigned, Eeprom, 140);
    register!(MIN_VOLTAGE_LIMIT, "Min_Voltage_Limit", 34, 2, Unsigned, Eeprom, 60);
    register!(PWM_LIMIT, "PWM_Limit", 36, 2, Unsigned, Eeprom, 885);
    register!(CURRENT_LIMIT, "Current_Limit", 38, 2, Unsigned, Eeprom, 1193);
    register!(ACCELERATION_LIMIT, "Acceleration_Limit", 40, 4, Unsigned, Eeprom, 32767);
    register!(VELOCITY_LIMIT, "Velocity_Limit", 44, 4, Unsigned, Eeprom, 265);
    register!(MAX_POSITION_LIMIT, "Max_Position_Limit", 48, 4, Unsigned, Eeprom, 4095);
    register!(MIN_POSITION_LIMIT, "Min_Position_Limit", 52, 4, Unsigned, Eeprom, 0);
    register!(SHUTDOWN, "Shutdown", 63, 1, Unsigned, Eeprom, 52);
    register!(TORQUE_ENABLE, "Torque_Enable", 64, 1, Unsigned, Ram, 0);
    register!(LED, "LED", 65, 1, Unsigned, Ram, 0);
    register!(STATUS_RETURN_LEVEL, "Status_Return_Level", 68, 1, Unsigned, Ram, 2);
    register!(REGISTERED_INSTRUCTION, "Registered_Instruction", 69, 1, Unsigned, ReadOnly, 0);
    register!(HARDWARE_ERROR_STATUS, "Hardware_Error_Status", 70, 1, Unsigned, ReadOnly, 0);
    register!(VELOCITY_I_GAIN, "Velocity_I_Gain", 76, 2, Unsigned, Ram, 1920);
    register!(VELOCITY_P_GAIN, "Velocity_P_Gain", 78, 2, Unsigned, Ram, 100);
    register!(POSITION_D_GAIN, "Position_D_Gain", 80, 2, Unsigned, Ram, 0);
    register!(POSITION_I_GAIN, "Position_I_Gain", 82, 2, Unsigned, Ram, 0);
    register!(POSITION_P_GAIN, "Position_P_Gain", 84, 2, Unsigned, Ram, 800);
    register!(FEEDFORWARD_2ND_GAIN, "Feedforward_2nd_Gain", 88, 2, Unsigned, Ram, 0);
    register!(FEEDFORWARD_1ST_GAIN, "Feedforward_1st_Gain", 90, 2, Unsigned, Ram, 0);
    register!(BUS_WATCHDOG, "Bus_Watchdog", 98, 1, Unsigned, Ram, 0);
    register!(GOAL_PWM, "Goal_PWM", 100, 2, Complement, Ram, 885);
    register!(GOAL_CURRENT, "Goal_Current", 102, 2, Complement, Ram, 1193);
    register!(GOAL_VELOCITY, "Goal_Velocity", 104, 4, Complement, Ram, 0);
    register!(PROFILE_ACCELERATION, "Profile_Acceleration", 108, 4, Unsigned, Ram, 0);
    register!(PROFILE_VELOCITY, "Profile_Velocity", 112, 4, Unsigned, Ram, 0);
    register!(GOAL_POSITION, "Goal_Position", 116, 4, Complement, Ram, 0);
    register!(REALTIME_TICK, "Realtime_Tick", 120, 2, Unsigned, ReadOnly, 0);
    register!(MOVING, "Moving", 122, 1, Unsigned, ReadOnly, 0);
    register!(MOVING_STATUS, "Moving_Status", 123, 1, Unsigned, ReadOnly, 0);
    register!(PRESENT_PWM, "Present_PWM", 124, 2, Complement, ReadOnly, 0);
    register!(PRESENT_CURRENT, "Present_Current", 126, 2, Complement, ReadOnly, 0);
    register!(PRESENT_VELOCITY, "Present_Velocity", 128, 4, Complement, ReadOnly, 0);
    register!(PRESENT_POSITION, "Present_Position", 132, 4, Complement, ReadOnly, 0);
    register!(VELOCITY_TRAJECTORY, "Velocity_Trajectory", 136, 4, Unsigned, ReadOnly, 0);
    register!(POSITION_TRAJECTORY, "Position_Trajectory", 140, 4, Unsigned, ReadOnly, 0);
    register!(PRESENT_INPUT_VOLTAGE, "Present_Input_Voltage", 144, 2, Unsigned, ReadOnly, 120);
    register!(PRESENT_TEMPERATURE, "Present_Temperature", 146, 1, Unsigned, ReadOnly, 30);
    /// All of them, in order of address.
    pub const ALL: &[&Register] = &[
        &MODEL_NUMBER,
        &MODEL_INFORMATION,
        &FIRMWARE_VERSION,
        &ID,
        &BAUD_RATE,
        &RETURN_DELAY_TIME,
        &DRIVE_MODE,
        &OPERATING_MODE,
        &SECONDARY_ID,
        &PROTOCOL_TYPE,
        &HOMING_OFFSET,
        &MOVING_THRESHOLD,
        &TEMPERATURE_LIMIT,
        &MAX_VOLTAGE_LIMIT,
        &MIN_VOLTAGE_LIMIT,
        &PWM_LIMIT,
        &CURRENT_LIMIT,
        &ACCELERATION_LIMIT,
        &VELOCITY_LIMIT,
        &MAX_POSITION_LIMIT,
        &MIN_POSITION_LIMIT,
        &SHUTDOWN,
        &TORQUE_ENABLE,
        &LED,
        &STATUS_RETURN_LEVEL,
        &REGISTERED_INSTRUCTION,
        &HARDWARE_ERROR_STATUS,
        &VELOCITY_I_GAIN,
        &VELOCITY_P_GAIN,
        &POSITION_D_GAIN,
        &POSITION_I_GAIN,
        &POSITION_P_GAIN,
        &FEEDFORWARD_2ND_GAIN,
        &FEEDFORWARD_1ST_GAIN,
        &BUS_WATCHDOG,
        &GOAL_PWM,
        &GOAL_CURRENT,
        &GOAL_VELOCITY,
        &PROFILE_ACCELERATION,
        &PROFILE_VELOCITY,
        &GOAL_POSITION,
        &REALTIME_TICK,
        &MOVING,
        &MOVING_STATUS,
        &PRESENT_PWM,
        &PRESENT_CURRENT,
        &PRESENT_VELOCITY,
        &PRESENT_POSITION,
        &VELOCITY_TRAJECTORY,
        &POSITION_TRAJECTORY,
        &PRESENT_INPUT_VOLTAGE,
        &PRESENT_TEMPERATURE,
    ];
}

const FEETECH_BAUDS: &[(u32, u8)] = &[
    (1_000_000, 0),
    (500_000, 1),
    (250_000, 2),
    (128_000, 3),
    (115_200, 4),
    (57_600, 5),
    (38_400, 6),
    (19_200, 7),
];

const X_BAUDS: &[(u32, u8)] = &[
    (57_600, 1),
    (1_000_000, 3),
    (115_200, 2),
    (2_000_000, 4),
    (3_000_000, 5),
    (4_000_000, 6),
    (9_600, 0),
];

const fn feetech(name: &'static str, number: u16) -> Model {
    Model {
        name,
        number,
        protocol: Protocol::Sts,
        resolution: 4096,
        registers: sts::ALL,
        bauds: FEETECH_BAUDS,
        velocity_unit: 1.0,
    }
}

const fn x_series(name: &'static str, number: u16) -> Model {
    Model {
        name,
        number,
        protocol: Protocol::Dynamixel,
        resolution: 4096,
        registers: dxl::ALL,
        bauds: X_BAUDS,
        // 0.229 turns a minute.
        velocity_unit: 0.229 / 60.0 * 4096.0,
    }
}

pub const MODELS: &[Model] = &[
    feetech("sts3215", 777),
    feetech("sts3250", 2825),
    feetech("sm8512bl", 11272),
    Model {
        name: "scs0009",
        number: 1284,
        protocol: Protocol::Scs,
        resolution: 1024,
        registers: scs::ALL,
        bauds: FEETECH_BAUDS,
        velocity_unit: 1.0,
    },
    x_series("xl330-m077", 1190),
    x_series("xl330-m288", 1200),
    x_series("xl430-w250", 1060),
    x_series("xm430-w350", 1020),
    x_series("xm540-w270", 1120),
    x_series("xc430-w150", 1070),
    x_series("xh540-w150", 1110),
    x_series("xc330-t288", 1220),
    x_series("xc330-t181", 1210),
];
