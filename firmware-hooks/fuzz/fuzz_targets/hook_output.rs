#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_firmware_hooks::hooks::output::{
    FACT_NAME_BYTES_MAX, FACT_VALUE_BYTES_MAX, FACTS_MAX, MESSAGE_BYTES_MAX, parse, words,
};

// What a hook wrote to standard output, and the same as if it had written it to standard error.
fuzz_target!(|bytes: &[u8]| {
    let said = parse(bytes, false);
    assert!(said.message.len() <= MESSAGE_BYTES_MAX && !said.message.contains(char::is_control), "{said:?}");
    assert!(said.facts.len() <= FACTS_MAX, "{said:?}");
    for (name, value) in &said.facts {
        assert!((1..=FACT_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control), "{name:?}");
        assert!(value.len() <= FACT_VALUE_BYTES_MAX && !value.contains(char::is_control), "{value:?}");
    }
    assert!(!words(bytes).contains(|character: char| character.is_control() && character != '\n'));
});
