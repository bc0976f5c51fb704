//! Who wins.

use super::*;

#[test]
fn the_stronger_layer_decides() {
    let variable = [("HOOKBRO__BROKER__PREFETCH", "3")];
    let given = Words { file: Some("[broker]\nprefetch = 2"), environment: &variable, sets: &["broker.prefetch=4"] };
    for (words, prefetch) in [
        (Words::default(), 256),
        (Words { environment: &[], sets: &[], ..given }, 2),
        (Words { sets: &[], ..given }, 3),
        (Words { environment: &[], ..given }, 4),
        (given, 4),
        (Words { sets: &["broker.prefetch=5", "broker.prefetch=6"], ..given }, 6),
    ] {
        assert_eq!(words.settings().broker.prefetch, prefetch);
    }
}

#[test]
fn the_strongest_layer_that_names_a_list_or_map_decides_it_whole() {
    let words = Words {
        file: Some("[broker]\nbindings = ['a', 'b']\n[routing.apps]\none = 'first'\ntwo = 'second'"),
        environment: &[("HOOKBRO__ROUTING__APPS", "three=third")],
        sets: &["broker.bindings=c"],
    };
    let settings = words.settings();
    assert_eq!(settings.broker.bindings, ["c"]);
    assert_eq!(settings.routing.routes.projects().map(ToString::to_string).collect::<Vec<_>>(), ["three"]);
}

#[test]
fn a_stronger_layer_replaces_a_secret_in_whichever_form_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "by-file\n").unwrap();
    let path = path.to_str().unwrap();
    let (in_file, in_file_by_file) = ("[svix]\ntoken = 'by-value'", format!("[svix]\ntoken_file = '{path}'"));
    for (file, variable, value, token) in [
        (in_file, "HOOKBRO__SVIX__TOKEN_FILE", path, "by-file"),
        (&in_file_by_file, "HOOKBRO__SVIX__TOKEN", "by-variable", "by-variable"),
        (&in_file_by_file, "HOOKBRO__SVIX__URL", "", "by-file"),
    ] {
        let words = Words { file: Some(file), environment: &[(variable, value)], sets: &[] };
        assert_eq!(words.settings().svix.token.current(), token, "{file} {variable}");
    }
}

#[test]
fn variables_with_another_prefix_are_not_ours() {
    let words = environment(&[
        ("HOOKBRO_TEST_AMQP_URL", "amqp://elsewhere"),
        ("HOOKBRO_BROKER__PREFETCH", "1"),
        ("BROKER__PREFETCH", "1"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(words.settings().broker.prefetch, 256);
}
