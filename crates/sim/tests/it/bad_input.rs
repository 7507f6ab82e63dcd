//! One clear error for each mistake.

use embody_core::Error;
use embody_sim::{EnvOptions, ExpertOptions};

use crate::{TASK, assets};

fn text(error: Error) -> String {
    match error.hint() {
        Some(hint) => format!("{error} | {hint}"),
        None => error.to_string(),
    }
}

#[test]
fn unknown_task_names_the_nearest() {
    let error = embody_sim::show("so101-pick-lfit").unwrap_err();
    assert_eq!(
        text(error),
        "unknown task `so101-pick-lfit` | did you mean `so101-pick-lift`? `embody sim list` shows \
         all tasks"
    );
    let error = embody_sim::make("", EnvOptions::new("nowhere")).err().unwrap();
    let known = embody_sim::tasks().join(", ");
    assert_eq!(text(error), format!("unknown task `` | known tasks: {known}"));
    let error = embody_sim::show("go1-velocity-flta").unwrap_err();
    assert!(text(error).contains("did you mean `go1-velocity-flat`?"));
}

#[test]
fn absent_models_ask_for_setup() {
    let error = embody_sim::make(TASK, EnvOptions::new("no/such/folder")).err().unwrap();
    assert_eq!(
        text(error),
        "robot model no/such/folder/so101/so101.xml is not there | run `embody assets get so101`, or \
         `cargo xtask setup --robots` in the source tree"
    );
    let error = embody_sim::make("g1-velocity-rough", EnvOptions::new("none")).err().unwrap();
    assert_eq!(
        text(error),
        "robot model none/g1/g1.xml is not there | run `embody assets get g1`, or `cargo xtask setup \
         --robots` in the source tree"
    );
    let error = embody_sim::expert(TASK, 1, 0, ExpertOptions::new("none")).err().unwrap();
    assert_eq!(
        text(error),
        "robot model none/so101/so101.xml is not there | run `embody assets get so101`, or `cargo \
         xtask setup --robots` in the source tree"
    );
}

#[test]
fn a_broken_model_says_what_mujoco_says() {
    let home = std::env::temp_dir().join(format!("embody-sim-{}", std::process::id()));
    std::fs::create_dir_all(home.join("so101/assets")).unwrap();
    std::fs::write(home.join("so101/so101.xml"), "<mujoco><worldbody>").unwrap();
    let error = embody_sim::make(TASK, EnvOptions::new(&home)).err().unwrap();
    std::fs::remove_dir_all(&home).unwrap();
    let text = text(error);
    assert!(text.starts_with("could not load the scene of task `so101-pick-lift`: "), "{text}");
    assert!(text.ends_with("run `cargo xtask setup` to put the robot models in place anew"));
}

#[test]
fn another_robot_in_the_folder_says_what_it_lacks() {
    let home = std::env::temp_dir().join(format!("embody-sim-go1-{}", std::process::id()));
    std::fs::create_dir_all(home.join("go1/assets")).unwrap();
    let model = r#"<mujoco><worldbody><body name="trunk"><freejoint/><geom size="0.1"/></body>
        </worldbody></mujoco>"#;
    std::fs::write(home.join("go1/go1.xml"), model).unwrap();
    let error = embody_sim::make("go1-velocity-flat", EnvOptions::new(&home)).err().unwrap();
    std::fs::remove_dir_all(&home).unwrap();
    assert_eq!(text(error), "the scene of task `go1-velocity-flat` has no joint `FR_hip_joint`");
}

#[test]
fn options_out_of_range() {
    let Some(assets) = assets() else { return };
    let none = EnvOptions { num_envs: 0, ..EnvOptions::new(&assets) };
    let error = embody_sim::make(TASK, none).err().unwrap();
    assert_eq!(text(error), "num_envs is 0, outside of 1 and up");
    let tiny = EnvOptions { camera_size: Some((96, 4)), ..EnvOptions::new(&assets) };
    let error = embody_sim::make(TASK, tiny).err().unwrap();
    assert_eq!(text(error), "camera width is 4, outside of 8 to 2048 pixels");
    let blind = EnvOptions { cameras: Some(vec!["back".to_owned()]), ..EnvOptions::new(&assets) };
    let error = embody_sim::make(TASK, blind).err().unwrap();
    assert_eq!(
        text(error),
        "task `so101-pick-lift` has no camera `back` | cameras of this task: front, wrist, overview"
    );
}

#[test]
fn bad_actions_name_environment_and_dimension() {
    let Some(assets) = assets() else { return };
    let options = EnvOptions { num_envs: 2, camera_size: None, ..EnvOptions::new(&assets) };
    let mut env = embody_sim::make(TASK, options).unwrap();
    let mut actions = [0.0; 12];
    actions[6 + 2] = f32::NAN;
    let error = env.step(&actions, &[true, true]).unwrap_err();
    assert_eq!(
        text(error),
        "action of environment 1 is NaN in dimension 2 (elbow_flex.pos) | the policy's output is \
         broken: look at its loss and its normalisation statistics"
    );
    env.step(&actions, &[true, false]).unwrap();
    let error = env.step(&actions[..6], &[true, true]).unwrap_err();
    assert_eq!(text(error), "actions has 6 elements, expected 12");
    let error = env.reset(&[None]).unwrap_err();
    assert_eq!(text(error), "seeds has 1 elements, expected 2");
}

#[test]
fn an_expert_without_its_view_says_what_it_needs() {
    let Some(assets) = assets() else { return };
    let options = EnvOptions { camera_size: None, ..EnvOptions::new(&assets) };
    let env = embody_sim::make(TASK, options).unwrap();
    let mut expert = embody_sim::expert(TASK, 1, 0, ExpertOptions::new(&assets)).unwrap();
    let error = expert.act(&env.observations(), &[true], &mut [0.0; 6]).unwrap_err();
    assert_eq!(
        text(error),
        "the expert of `so101-pick-lift` needs observation `observation.environment_state` of 4 \
         values per environment | make the environment with privileged observations"
    );
}
