//! What tools read of a machine's file without running it: locator, table, metadata.

use crate::input::Input;
use payload::{HEADER_LEN, Locator, Metadata, Table};
use snapshot::Digest;

/// The first byte says what the rest is.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() {
        0 => locator(input.rest()),
        1 => metadata(input.rest()),
        // With a digest that fits.
        2 => {
            let mut table = input.rest().to_vec();
            table.extend(Digest::of(&table).as_bytes());
            read_table(&table);
        }
        _ => read_table(input.rest()),
    }
}

fn locator(bytes: &[u8]) {
    if let Some(end) = bytes.last_chunk()
        && let Ok(Some(locator)) = Locator::decode(end)
    {
        assert_eq!(locator.encode(), *end);
    }
}

fn metadata(bytes: &[u8]) {
    if let Ok(metadata) = Metadata::decode(bytes) {
        let again = Metadata::decode(&metadata.encode()).expect("what was encoded can be decoded");
        assert_eq!(again.encode(), metadata.encode());
    }
}

fn read_table(bytes: &[u8]) {
    let Some(start) = bytes.first_chunk::<HEADER_LEN>() else { return };
    let count = Table::part_count(start);
    if let Ok(table) = Table::decode(bytes) {
        assert_eq!(count.expect("the count of a good table"), table.parts.len());
        assert_eq!(table.encode(), bytes);
        if table.check_layout(4096, table.payload_length).is_ok() {
            assert!(table.parts.iter().all(|part| part.offset + part.length <= table.payload_length), "a part outside the payload");
        }
    }
}
