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

/// A folder of robot models with one file in it.
fn folder_with(name: &str, file: &str, text: &str) -> std::path::PathBuf {
    let home = std::env::temp_dir().join(format!("embody-sim-{name}-{}", std::process::id()));
    let file = home.join(file);
    std::fs::create_dir_all(file.parent().unwrap().join("assets")).unwrap();
    std::fs::write(file, text).unwrap();
    home
}

#[test]
fn a_broken_model_is_named() {
    for (task, file) in [
        ("so101-reach", "so101/so101.xml"),
        ("aloha-insertion", "aloha/bimanual_viperx_insertion.xml"),
        ("go1-velocity-flat", "go1/go1.xml"),
        ("HalfCheetah-v5", "gymnasium/half_cheetah.xml"),
    ] {
        let home = folder_with(task, file, "<mujoco><worldbody>");
        let error = embody_sim::make(task, EnvOptions::new(&home)).err().unwrap();
        std::fs::remove_dir_all(&home).unwrap();
        let (path, robot) =
            (home.join(file).display().to_string(), &file[..file.find('/').unwrap()]);
        let text = text(error);
        assert!(text.starts_with("could not ") && text.contains(&path), "{text}");
        assert!(text.contains(&format!("task `{task}`")), "{text}");
        let hint =
            format!("run `embody assets get {robot} --force` to put the model in place anew");
        assert!(text.ends_with(&hint), "{text}");
    }
}

#[test]
fn another_robot_in_the_folder_says_what_it_lacks() {
    let model = r#"<mujoco><worldbody><body name="trunk"><freejoint/><geom size="0.1"/></body>
        </worldbody></mujoco>"#;
    let home = folder_with("trunk", "go1/go1.xml", model);
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

/// The same of every task of manipulation, whose dimensions differ.
#[test]
fn actions_of_other_tasks() {
    let Some(assets) = assets() else { return };
    for (task, robot, dims, name) in [
        ("so101-reach", "so101", 6, "wrist_roll.pos"),
        ("aloha-transfer-cube", "aloha", 14, "left_wrist_angle"),
        ("pusht", "so101", 2, ""),
    ] {
        if !assets.join(robot).exists() {
            continue;
        }
        let options = EnvOptions { camera_size: None, ..EnvOptions::new(&assets) };
        let mut env = embody_sim::make(task, options).unwrap();
        let error = env.step(&vec![0.0; dims + 1], &[true]).unwrap_err();
        let expected = format!("actions has {} elements, expected {dims}", dims + 1);
        assert_eq!(text(error), expected);
        let at = (dims - 1).min(4);
        let mut action = vec![0.0; dims];
        action[at] = f32::INFINITY;
        let said = text(env.step(&action, &[true]).unwrap_err());
        let expected = format!("action of environment 0 is inf in dimension {at} ({name}");
        assert!(said.starts_with(&expected), "{said}");
        env.step(&vec![0.0; dims], &[true]).unwrap();
    }
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
