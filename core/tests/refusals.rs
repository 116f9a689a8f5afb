//! What the two macros refuse, each with its own sentence, held in `refusals/*.stderr`.
//! `TRYBUILD=overwrite` writes those anew.

#[test]
fn what_cannot_be_a_message_or_a_kind_is_refused_in_words() {
    trybuild::TestCases::new().compile_fail("tests/refusals/*.rs");
}
