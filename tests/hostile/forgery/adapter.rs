//! What only a Matrix client can see is judged where the client is: in `adapters/matrix-sdk`. Each
//! row names the test there; it is to exist.

const TESTS: &str = include_str!("../../../adapters/matrix-sdk/src/intake/tests.rs");

const ROWS: [(&str, &str); 5] = [
    ("a Megolm session of another user", "an_event_in_the_session_of_another_user_is_forged"),
    (
        "an encrypted event with a forged state key",
        "a_state_key_inside_a_ciphertext_makes_no_state",
    ),
    (
        "an event that claims a device or a trust",
        "the_device_and_its_trust_come_from_the_decryption",
    ),
    (
        "an event without a type, a sender or a content",
        "an_event_without_a_type_or_with_nonsense_in_it_is_nothing_to_us",
    ),
    ("an event that claims an age", "an_age_that_is_odd_or_absent_is_made_good"),
];

#[test]
fn what_a_matrix_client_has_to_check_has_a_test_in_its_adapter() {
    for (what, test) in ROWS {
        assert!(TESTS.contains(&format!("fn {test}()")), "{what}: no test {test}");
    }
}
