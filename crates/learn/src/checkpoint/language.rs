//! The instruction of a policy that follows one, as its checkpoint's tokenizer numbers it. LeRobot names
//! the tokenizer in `policy_preprocessor.json` and fetches it; here `tokenizer.json` lies in the folder.

use std::path::Path;

use embody_core::Result;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokenizers::{Tokenizer, TruncationParams};

use super::{Model, processors};
use crate::error::Error;
use crate::imitation::Instruction;

const TOKENIZER: &str = "tokenizer.json";
/// Around each picture in SmolVLM's prompts.
const AROUND_PICTURE: &str = "<fake_token_around_image>";
const WHOLE_PICTURE: &str = "<global-img>";

/// The step of the preprocessor that numbers words.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerStep {
    max_length: usize,
    #[serde(default)]
    tokenizer_name: Option<String>,
    /// Padding is masked, so that neither its length nor its side matters.
    #[serde(default, rename = "padding")]
    _padding: IgnoredAny,
    #[serde(default, rename = "padding_side")]
    _padding_side: IgnoredAny,
    #[serde(default = "task", rename = "task_key")]
    task_key: String,
    #[serde(default = "yes")]
    truncation: bool,
}

fn task() -> String {
    "task".into()
}

fn yes() -> bool {
    true
}

/// Gives `model` its instruction, where it follows one; others take no notice of `text`.
pub(crate) fn instruct(dir: &Path, model: &mut Model, text: Option<&str>) -> Result<()> {
    let Some(language) = model.config.language() else { return Ok(()) };
    let text = text.ok_or_else(|| {
        let kind = model.config.kind();
        let what = format!("a policy of type `{kind}` acts by an instruction, and none is given");
        let hint =
            "say what to do with `instruction`, in words like those it learned from, such as \
                    \"pick up the cube\""
                .into();
        Error::Invalid { what, hint }
    })?;
    model.instruction = read(dir, &language, text)?;
    Ok(())
}

/// What a policy needs to know of its instruction.
pub(crate) struct Language {
    /// Whose tokenizer it is.
    pub model_name: String,
    /// Tokens at most.
    pub max_length: usize,
    /// Numbers that there are.
    pub vocabulary: usize,
    /// Whether special tokens mark pictures.
    pub marks_pictures: bool,
}

fn read(dir: &Path, language: &Language, text: &str) -> Result<Instruction> {
    let step: Option<TokenizerStep> = processors::step_config(dir, "tokenizer_processor")?;
    let (max_length, name) = match step {
        Some(step) => {
            let place = || processors::preprocessor_path(dir);
            if step.task_key != "task" || !step.truncation {
                let what = "the tokenizer reads another key than `task`, or does not truncate";
                return Err(super::damaged(&place(), what).into());
            }
            (step.max_length, step.tokenizer_name)
        }
        None => (language.max_length, None),
    };
    let name = name.unwrap_or_else(|| language.model_name.clone());
    let path = dir.join(TOKENIZER);
    let unfit = |what: &str| {
        let what = format!("{}: {what}", path.display());
        let hint = format!("put the file `{TOKENIZER}` of `{name}` into the policy's folder");
        embody_core::Error::from(Error::Invalid { what, hint })
    };
    if !path.is_file() {
        return Err(unfit("the policy's tokenizer is not there"));
    }
    let mut tokenizer = Tokenizer::from_file(&path).map_err(|e| unfit(&e.to_string()))?;
    let truncation = TruncationParams { max_length, ..Default::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(|e| unfit(&e.to_string()))?;
    tokenizer.with_padding(None);
    // LeRobot's policies were trained on instructions that end with a line break.
    let line = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let encoded = tokenizer.encode(line, true).map_err(|e| unfit(&e.to_string()))?;
    let special = |word: &str| {
        let id = tokenizer.token_to_id(word).map(|id| id as usize);
        id.ok_or_else(|| unfit(&format!("it has no token `{word}`")))
    };
    let mut instruction = Instruction {
        tokens: encoded.get_ids().iter().map(|id| *id as usize).collect(),
        ..Default::default()
    };
    if language.marks_pictures {
        instruction.before_picture = vec![special(AROUND_PICTURE)?, special(WHOLE_PICTURE)?];
        instruction.after_picture = vec![special(AROUND_PICTURE)?];
    }
    let Instruction { tokens, before_picture, after_picture } = &instruction;
    let mut all = tokens.iter().chain(before_picture).chain(after_picture);
    if let Some(id) = all.find(|id| **id >= language.vocabulary) {
        let words = language.vocabulary;
        return Err(unfit(&format!("it gives the number {id}, the policy knows {words}")));
    }
    Ok(instruction)
}
