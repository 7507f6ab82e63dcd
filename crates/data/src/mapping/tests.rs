use super::*;

const GOOD: &str = "fps = 10\ntask = \"drive\"\n\n[features.action]\nmethod = \"latest\"\n\
                    from = [{ topic = \"/cmd_vel\", field = \"linear.x\" }]\n";

fn refused(text: &str) -> (String, String) {
    let error = Mapping::parse(text, "map.toml").expect_err("refused");
    (error.message().to_owned(), error.hint().unwrap_or("").to_owned())
}

#[test]
fn a_mapping_reads() {
    let mapping = Mapping::parse(GOOD, "map.toml").expect("a mapping");
    assert_eq!(mapping.topics(), ["/cmd_vel"]);
    assert_eq!(mapping.features["action"].dtype, DType::Float32);
    let again = mapping.clone().rewritten().expect("written");
    let again = Mapping::parse(again.text(), "map.toml").expect("read again");
    assert_eq!(again.features, mapping.features);
}

#[test]
fn errors_name_file_line_and_the_nearest_key() {
    let (message, hint) = refused(&GOOD.replace("method", "metod"));
    assert_eq!(message, "map.toml:5: unknown key `metod`");
    assert_eq!(hint, "did you mean `method`?");
    let (message, _) = refused(&GOOD.replace("fps = 10", "fps = -1"));
    assert_eq!(message, "map.toml:1: fps is -1");
    let (message, _) = refused(&GOOD.replace("latest", "cubic"));
    assert!(message.starts_with("map.toml:5: unknown variant `cubic`"), "{message}");
    let (message, hint) = refused(&format!("{GOOD}\n[episodes]\nby = \"gap\"\n"));
    assert!(message.contains("gap_secs") && hint.contains("gap_secs"), "{message}");
    let (message, _) = refused("fps = 3\n");
    assert!(message.contains("maps nothing"), "{message}");
    let camera = "\n[cameras.front]\ntopic = \"/c\"\nmethod = \"linear\"\n";
    let (message, _) = refused(&format!("{GOOD}{camera}"));
    assert!(message.contains("pictures can't be interpolated"), "{message}");
}
