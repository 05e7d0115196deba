//! Any bytes as a recording: items or one error; a recording without an error can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_health::trace::{Reader, Writer};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::open(bytes) else { return };
    let mut items = Vec::new();
    while let Some(item) = reader.next() {
        let Ok(item) = item else {
            assert!(reader.next().is_none(), "nothing comes after an error");
            return;
        };
        items.push(item);
    }
    // Each GPU of the head is written with all its names, which would make the target slow.
    let about = reader.about().clone();
    if about.gpus.len() > 2 {
        return;
    }
    let mut text = String::new();
    let mut writer = Writer::begin(&about, false, &mut text);
    for item in &items {
        writer.item(item, &mut text);
    }
    let again = Reader::open(text.as_bytes()).expect("own head");
    assert_eq!(*again.about(), about);
    assert!(again.map(|item| item.expect("own item")).eq(items));
});
